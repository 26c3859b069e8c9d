package local

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Table writes the states for people: the newest view that a node knows, a line
// for each node, and below what asks for an explanation: who does not serve,
// who is suspected of what, whose acceptor has stopped.
func Table(w io.Writer, states []State) error {
	fmt.Fprintln(w, viewLine(states))
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	// Of certificates nothing is said where no node has one.
	cert := func(*State) string { return "" }
	head := ""
	if slices.ContainsFunc(states, func(s State) bool { return s.Certificate != nil }) {
		cert, head = func(s *State) string { return s.Certificate.String() + "\t" }, "CERTIFICATE\t"
	}
	fmt.Fprintln(t, "NODE\tPID\tROLE\tLEASE\tSUSPECTED BY\tEPOCH\tINC\tMODEL\tPROVIDER\tDEVICE\tDOMAIN\tPAGES\tKEYS\tPOOL\t"+head+"RECOVERY")
	for i := range states {
		s := &states[i]
		by := nodeList(suspectedBy(states, s.Node))
		if s.Role == "down" {
			fmt.Fprintf(t, "%d\t-\tdown\t-\t%s\t-\t-\t-\t-\t-\t-\t-\t-\t-\t%s%s\n", s.Node, by, cert(s), s.Error)
			continue
		}
		role := s.Role
		if role == "live" && !s.Ready {
			role = "live, not serving"
		}
		recovery := s.Last.String()
		if s.Way != nil {
			recovery = s.Way.String()
		}
		fmt.Fprintf(t, "%d\t%d\t%s\t%s\t%s\t%d\t%d\t%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s%s\n", s.Node, s.PID, role, s.lease(), by, s.Epoch, s.Incarnation,
			s.Model, s.Provider, cmp.Or(s.Device, "-"), s.Domain, cmp.Or(s.PageSize, "-"), s.Keys, use(s.PoolUsed, s.PoolBytes), cert(s), recovery)
	}
	if err := t.Flush(); err != nil {
		return fmt.Errorf("status: %w", err)
	}
	if text := reasons(states); text != "" {
		fmt.Fprint(w, "\n"+text)
	}
	return nil
}

// viewLine is the newest view that anybody knows.
func viewLine(states []State) string {
	var newest *State
	for i := range states {
		if s := &states[i]; s.Role != "down" && (newest == nil || s.Epoch > newest.Epoch) {
			newest = s
		}
	}
	switch {
	case newest == nil:
		return "VIEW  none: no node answers"
	case newest.Epoch == 0:
		return "VIEW  none yet"
	}
	var away []int
	for n := range 16 {
		asked := slices.ContainsFunc(states, func(s State) bool { return s.Node == n })
		if (asked || newest.Membership.View.Configured&(1<<n) != 0) && !slices.Contains(newest.Live, n) && !slices.Contains(newest.Shadow, n) {
			away = append(away, n)
		}
	}
	text := fmt.Sprintf("VIEW  epoch %d: live %s, shadow %s, away %s", newest.Epoch, nodeList(newest.Live), nodeList(newest.Shadow), nodeList(away))
	if newest.Membership.View.Cold {
		text += "; cold start: the shadows become live together"
	}
	return text
}

// nodeList shows nodes as 0,2,5.
func nodeList(nodes []int) string {
	if len(nodes) == 0 {
		return "-"
	}
	parts := make([]string, len(nodes))
	for i, n := range nodes {
		parts[i] = strconv.Itoa(n)
	}
	return strings.Join(parts, ",")
}

func suspectedBy(states []State, node int) (by []int) {
	for i := range states {
		for _, x := range states[i].Membership.Suspects {
			if x.Member.Node == node {
				by = append(by, states[i].Node)
				break
			}
		}
	}
	return by
}

func (s *State) lease() string {
	if s.LeaseLeft <= 0 {
		return "-"
	}
	return s.LeaseLeft.Round(time.Millisecond).String() + " left"
}

// reasons is the text below the table.
func reasons(states []State) string {
	var b strings.Builder
	for i := range states {
		s := &states[i]
		if s.Blocked != "" {
			fmt.Fprintf(&b, "node %d, %s: %s\n", s.Node, s.Role, s.Blocked)
		}
		if s.Role != "down" && s.Error != "" {
			fmt.Fprintf(&b, "node %d: %s\n", s.Node, s.Error)
		}
		if len(s.Hung) > 0 {
			fmt.Fprintf(&b, "node %d: shards %s do not answer\n", s.Node, nodeList(s.Hung))
		}
		b.WriteString(s.Certificate.complaint(s.Node))
		b.WriteString(s.Damage.complaint(s.Node))
		if why := s.Membership.Stopped; why != "" {
			fmt.Fprintf(&b, "node %d votes no more: %s\n", s.Node, why)
		}
		for _, x := range s.Membership.Suspects {
			text := x.Why
			if x.Class != "" {
				text = x.Class + ": " + x.Why
			}
			fmt.Fprintf(&b, "node %d suspects node %d: %s\n", s.Node, x.Member.Node, text)
		}
	}
	return b.String()
}

func (w *Way) String() string {
	text := w.Phase
	switch {
	case w.Expected > 0:
		text += fmt.Sprintf(" %.0f %% of %v", 100*min(1, float64(w.Done)/float64(w.Expected)), round(w.Expected))
	case w.Done > 0:
		text += fmt.Sprintf(", %v so far", round(w.Done))
	}
	if w.Rate > 0 {
		text += fmt.Sprintf(", %v/s", round(uint64(w.Rate)))
	}
	if w.Left > 0 {
		text += fmt.Sprintf(", %v left", w.Left.Round(100*time.Millisecond))
	}
	return text + fmt.Sprintf(" (for %v)", w.For.Round(time.Millisecond))
}

// expiresSoon is from when on a certificate is mentioned below the table, in
// days; the node's log says it then too.
const expiresSoon = 30

func (c *Certificate) String() string {
	if c == nil || c.NotAfter.IsZero() {
		return "-"
	}
	text := fmt.Sprintf("until %s, %s", c.NotAfter.UTC().Format(time.DateOnly), c.left())
	if c.Authorities != 1 {
		text += fmt.Sprintf(", %d authorities", c.Authorities)
	} else {
		text += ", 1 authority"
	}
	return text
}

func (c *Certificate) left() string {
	if c.DaysLeft < 0 {
		return "EXPIRED"
	}
	return fmt.Sprintf("%.0f days left", math.Floor(c.DaysLeft))
}

// complaint is what asks for an operator, "" if nothing does.
func (c *Certificate) complaint(node int) (text string) {
	if c == nil {
		return ""
	}
	if !c.NotAfter.IsZero() && c.DaysLeft < expiresSoon {
		text = fmt.Sprintf("node %d: its certificate is valid until %s, %s: issue a new one, with `node certs` for instance\n",
			node, c.NotAfter.UTC().Format("2006-01-02 15:04 MST"), c.left())
	}
	if c.Error != "" {
		text += fmt.Sprintf("node %d: its certificate files are not in use: %s\n", node, c.Error)
	}
	return text
}

func use(used, all uint64) string {
	if all == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%% of %v", 100*float64(used)/float64(all), round(all))
}
