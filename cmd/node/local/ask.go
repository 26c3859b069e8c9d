package local

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"healkv/cmd/node/config"
)

// State is what a node says of itself, as far as this package reads it. Raw is
// all of it.
type State struct {
	Node        int             `json:"node"`
	PID         int             `json:"pid"`
	Role        string          `json:"role"` // "down" if nobody answers
	Epoch       uint32          `json:"epoch"`
	Incarnation uint32          `json:"incarnation"`
	Model       string          `json:"model"`
	Provider    string          `json:"provider"`
	Device      string          `json:"device"`
	Domain      string          `json:"domain"`
	PageSize    string          `json:"page_size"`
	Keys        uint64          `json:"keys"`
	PoolBytes   uint64          `json:"pool_bytes"`
	PoolUsed    uint64          `json:"pool_used_bytes"`
	Live        []int           `json:"live"`
	Shadow      []int           `json:"shadow"`
	LeaseLeft   time.Duration   `json:"lease_left_ns"`
	Blocked     string          `json:"blocked"` // why it does not serve
	Hung        []int           `json:"hung_shards"`
	Way         *Way            `json:"recovery"` // nil unless it is on its way back
	Membership  Membership      `json:"membership"`
	Last        *Recovery       `json:"last_recovery"`
	Certificate *Certificate    `json:"certificate"` // nil where nodes need none
	Damage      Damage          `json:"damage"`
	Error       string          `json:"error"`
	Ready       bool            `json:"-"`
	Raw         json.RawMessage `json:"-"`
}

// Damage is what a node has found damaged and not repaired.
type Damage struct {
	Open    int      `json:"open"`
	Refused int      `json:"refused"` // of those: no live member has a good copy
	Keys    []string `json:"keys"`    // of the refused ones, as far as known
}

// complaint is the text below the table.
func (d *Damage) complaint(node int) (text string) {
	if waiting := d.Open - d.Refused; waiting > 0 {
		text = fmt.Sprintf("node %d: %d damaged records are being fetched from the others\n", node, waiting)
	}
	if d.Refused > 0 {
		text += fmt.Sprintf("node %d: %d damaged records, and no live node has a good copy: their keys are refused until written anew, until a node that has one is back, or until node accept-loss\n", node, d.Refused)
		for _, key := range d.Keys {
			text += "  " + key + "\n"
		}
	}
	return text
}

// Membership is what a node knows of the group.
type Membership struct {
	View     View      `json:"view"`
	Suspects []Suspect `json:"suspects"`
	Stopped  string    `json:"stopped"` // why this acceptor votes no more
}

// Certificate is that with which a node proves who it is.
type Certificate struct {
	NotAfter    time.Time `json:"not_after"`
	DaysLeft    float64   `json:"days_left"`   // below 0: it has expired
	Authorities int       `json:"authorities"` // that the node trusts; 2 while the authority is replaced
	Error       string    `json:"error"`       // why what its files hold now is not in use
}

// View is what of a view this package reads.
type View struct {
	Configured uint16 // a bit for each node
	Cold       bool
}

// Suspect is a member that a node takes for gone, and why.
type Suspect struct {
	Member struct{ Node int } `json:"member"`
	Class  string             `json:"class"`
	Why    string             `json:"why"`
}

// Way is where a node is on its way back.
type Way struct {
	Phase    string        `json:"phase"`
	For      time.Duration `json:"for_ns"`
	Done     uint64        `json:"done"`
	Expected uint64        `json:"expected"`
	Rate     float64       `json:"rate"`
	Left     time.Duration `json:"left_ns"`
}

// Recovery is the last recovery of a node.
type Recovery struct {
	Kind        string        `json:"kind"`
	ToAdmitted  time.Duration `json:"to_admitted"`
	ToInstalled time.Duration `json:"to_installed"`
	Transfer    time.Duration `json:"transfer"`
	Finish      time.Duration `json:"finish"`
	Total       time.Duration `json:"total"`
	Bytes       uint64        `json:"bytes"`
	Records     uint64        `json:"records"`
}

// Ask reads /status and /readyz of every node, all at once. A node that does
// not answer within patience is down.
func (c *Cluster) Ask(ctx context.Context, patience time.Duration) []State {
	states := make([]State, c.Nodes)
	var wg sync.WaitGroup
	for i := range states {
		wg.Go(func() { states[i] = ask(ctx, i, c.Configs[i].Admin.Listen, patience) })
	}
	wg.Wait()
	return states
}

// AskNode reads those of one node.
func AskNode(ctx context.Context, n *config.Config, patience time.Duration) State {
	return ask(ctx, n.Node, n.Admin.Listen, patience)
}

var client = http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

func ask(ctx context.Context, node int, address string, patience time.Duration) State {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	down := State{Node: node, Role: "down"}
	_, body, err := fetch(ctx, "http://"+address+"/status")
	if err != nil {
		down.Error = shortened(err)
		return down
	}
	s := State{Raw: body}
	if err := json.Unmarshal(body, &s); err != nil || s.Role == "" {
		down.Error = address + " answers, but not as a node; is another program listening there?"
		return down
	}
	if s.Node != node {
		down.Error = fmt.Sprintf("%s is answered by node %d", address, s.Node)
		return down
	}
	code, _, err := fetch(ctx, "http://"+address+"/readyz")
	s.Ready = err == nil && code == http.StatusOK
	return s
}

func fetch(ctx context.Context, url string) (int, []byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	answer, err := client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 16<<20))
	return answer.StatusCode, body, err
}

// shortened takes the last part of a dial error: "connection refused".
func shortened(err error) string {
	text := err.Error()
	if at := strings.LastIndex(text, ": "); at >= 0 {
		return text[at+2:]
	}
	return text
}

func (r *Recovery) String() string {
	if r == nil || r.Kind == "" || r.Kind == "none" {
		return "none"
	}
	ms := func(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond)) }
	return fmt.Sprintf("%s %s ms (admitted %s, installed %s, transfer %s, finish %s), %v, %d records",
		r.Kind, ms(r.Total), ms(r.ToAdmitted), ms(r.ToInstalled), ms(r.Transfer), ms(r.Finish), config.Size(r.Bytes), r.Records)
}

// JSON writes the states for programs: everything a node said, and for a node
// that is down its number, role and why.
func JSON(w io.Writer, dir string, states []State) error {
	nodes := make([]json.RawMessage, len(states))
	for i := range states {
		nodes[i] = states[i].Raw
		if nodes[i] == nil {
			text, err := json.Marshal(map[string]any{"node": states[i].Node, "role": states[i].Role, "error": states[i].Error})
			if err != nil {
				return fmt.Errorf("status: %w", err)
			}
			nodes[i] = text
		}
	}
	out := json.NewEncoder(w)
	out.SetIndent("", "  ")
	if err := out.Encode(map[string]any{"dir": dir, "nodes": nodes}); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	return nil
}

// Everyone tells whether every node is live and serving.
func Everyone(states []State) bool {
	for i := range states {
		if states[i].Role != "live" || !states[i].Ready {
			return false
		}
	}
	return true
}

// ProgramPath is this binary, also when it was replaced meanwhile.
func ProgramPath() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("cannot find this program to start nodes with: %w", err)
	}
	return strings.TrimSuffix(path, " (deleted)"), nil
}
