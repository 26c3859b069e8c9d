package workload

import (
	"bufio"
	"bytes"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

//go:embed data/workload_a.json data/workload_o.json data/read_only.json data/NOTICE.md
var data embed.FS

var errTAOData = errors.New("workload: TAOBench data")

// taoModel is what of TAOBench's distributions decides an access.
type taoModel struct {
	operations    discrete // taoRead to taoWriteTxn
	readTypes     discrete // 0 object, else edge
	writeTypes    discrete // index into taoWriteNames
	readTxnTypes  discrete
	writeTxnTypes discrete
	readTxnSizes  discrete
	writeTxnSizes discrete
	shards        discrete
	perShard      uint64 // keys of one kind in one shard
	shardCount    uint64
	writes        bool
}

const (
	taoRead = iota
	taoWrite
	taoReadTxn
	taoWriteTxn
)

// Key kinds: even ids are objects, odd ones edges.
const (
	taoObject = 0
	taoEdge   = 1
)

// taoKinds says which kind of key an operation type accesses. Deletes are not
// here: their weight is 0 in all three files and must be.
var taoKinds = map[string]int{
	"obj_read": taoObject, "obj_add": taoObject, "obj_update": taoObject,
	"edge_point_read": taoEdge, "edge_range_read": taoEdge, "edge_count_read": taoEdge, "edge_time_read": taoEdge,
	"edge_add": taoEdge, "edge_update": taoEdge,
}

func (s *Spec) initTAO(which string) error {
	file, about := "", ""
	switch which {
	case "a":
		file, about = "workload_a.json", "TAOBench A"
	case "o":
		file, about = "workload_o.json", "TAOBench O"
	case "ro":
		file, about = "read_only.json", "TAOBench read-only"
	default:
		return fmt.Errorf("%w: TAOBench %q; known: a, o, ro", ErrUnknownWorkload, which)
	}
	text, err := data.ReadFile("data/" + file)
	if err != nil {
		return fmt.Errorf("%w: %w", errTAOData, err)
	}
	s.family, s.valueBytes = familyTAO, TAOValueBytes
	if s.tao, err = parseTAO(text); err != nil {
		return fmt.Errorf("%w (%s)", err, file)
	}
	unit := 2 * s.tao.shardCount // every shard gets as many objects as edges
	s.tao.perShard = (s.keys + unit - 1) / unit
	s.keys = s.tao.perShard * unit
	s.capacity = s.keys
	s.about = fmt.Sprintf("%s: range, count and time reads as point reads, transactions flattened to independent accesses, "+
		"shards weighted by primary_shards with keys placed evenly, uniform inside a shard; %.3g %% of the accesses write, %.3g accesses a request",
		about, 100*s.tao.writeShare(), s.tao.requestAccesses())
	return nil
}

// taoLine is one line of a data file.
type taoLine struct {
	Name    string            `json:"name"`
	Values  []json.RawMessage `json:"values"`
	Weights []float64         `json:"weights"`
}

// parseTAO reads the distributions an access needs. A line that is not JSON only
// matters if a distribution is missing in the end.
func parseTAO(text []byte) (m taoModel, err error) {
	lines := map[string]taoLine{}
	var bad error
	for sc := bufio.NewScanner(bytes.NewReader(text)); sc.Scan(); {
		if len(bytes.TrimSpace(sc.Bytes())) == 0 {
			continue
		}
		var l taoLine
		if err := json.Unmarshal(sc.Bytes(), &l); err != nil {
			bad = err
			continue
		}
		lines[l.Name] = l
	}
	get := func(name string, values func([]json.RawMessage) ([]int, error)) (d discrete) {
		if err != nil {
			return discrete{}
		}
		l, ok := lines[name]
		if !ok {
			err = fmt.Errorf("%w: no %s (unreadable lines: %v)", errTAOData, name, bad)
			return discrete{}
		}
		var v []int
		if l.Values != nil {
			if v, err = values(l.Values); err != nil {
				err = fmt.Errorf("%w: %s: %w", errTAOData, name, err)
				return discrete{}
			}
		}
		if d, err = newDiscrete(v, l.Weights); err != nil {
			err = fmt.Errorf("%w: %s: %w", errTAOData, name, err)
		}
		return d
	}
	kinds := func(name string) discrete {
		return get(name, func(raw []json.RawMessage) ([]int, error) {
			return taoKindValues(raw, lines[name].Weights)
		})
	}
	m.operations = get("operations", taoNumbers)
	m.shards = get("primary_shards", taoNumbers)
	m.readTypes = kinds("read_operation_types")
	m.readTxnTypes = kinds("read_txn_operation_types")
	m.readTxnSizes = get("read_txn_sizes", taoNumbers)
	if err != nil {
		return m, err
	}
	if len(m.operations.columns) != taoWriteTxn+1 {
		return m, fmt.Errorf("%w: operations has %d weights, want read, write, read and write transactions", errTAOData, len(m.operations.columns))
	}
	m.writes = m.operations.share(taoWrite)+m.operations.share(taoWriteTxn) > 0
	if m.writes {
		m.writeTypes = kinds("write_operation_types")
		m.writeTxnTypes = kinds("write_txn_operation_types")
		m.writeTxnSizes = get("write_txn_sizes", taoNumbers)
	}
	m.shardCount = uint64(len(m.shards.columns))
	return m, err
}

func taoNumbers(raw []json.RawMessage) ([]int, error) {
	v := make([]int, len(raw))
	for i, r := range raw {
		n, err := strconv.Atoi(string(r))
		if err != nil {
			return nil, err
		}
		v[i] = n
	}
	return v, nil
}

func taoKindValues(raw []json.RawMessage, weights []float64) ([]int, error) {
	v := make([]int, len(raw))
	for i, r := range raw {
		var name string
		if err := json.Unmarshal(r, &name); err != nil {
			return nil, err
		}
		kind, ok := taoKinds[name]
		if !ok && i < len(weights) && weights[i] != 0 {
			return nil, fmt.Errorf("operation type %q has a weight and is not supported", name)
		}
		v[i] = kind
	}
	return v, nil
}

func (m *taoModel) perRequest() (reads, writes float64) {
	reads = m.operations.share(taoRead) + m.operations.share(taoReadTxn)*m.readTxnSizes.mean()
	if m.writes {
		writes = m.operations.share(taoWrite) + m.operations.share(taoWriteTxn)*m.writeTxnSizes.mean()
	}
	return reads, writes
}

func (m *taoModel) writeShare() float64 {
	r, w := m.perRequest()
	return w / (r + w)
}

func (m *taoModel) requestAccesses() float64 {
	r, w := m.perRequest()
	return r + w
}

// id of the n-th key of a kind in a shard. Consecutive pairs of an object and an
// edge go to the shards in turn.
func (m *taoModel) id(shard, n uint64, kind int) uint64 {
	return (n*m.shardCount+shard)<<1 | uint64(kind)
}

// Shares of edge types do not differ in what they cost; one of four by hash.
const taoEdgeTypes = 4

// taoFar is the object an edge that starts at object p leads to.
func taoFar(p uint64) uint64 { return mix64(p+1) % 1_000_000_007 }

func appendTAOKey(dst []byte, id uint64) []byte {
	p := id >> 1
	if id&1 == taoObject {
		dst = append(dst, 'o', ':')
		return strconv.AppendUint(dst, p, 10)
	}
	dst = append(dst, 'e', ':')
	dst = strconv.AppendUint(dst, p, 10)
	dst = append(dst, ':')
	dst = strconv.AppendUint(dst, taoFar(p), 10)
	return append(dst, ':', '0'+byte(mix64(p)%taoEdgeTypes))
}

func taoKeyID(key []byte) (uint64, bool) {
	if len(key) < 3 || key[1] != ':' {
		return 0, false
	}
	kind := uint64(taoObject)
	if key[0] == 'e' {
		kind = taoEdge
	}
	p := uint64(0)
	for i, c := range key[2:] {
		if c < '0' || c > '9' {
			break
		}
		if i == 18 { // no id has as many digits
			return 0, false
		}
		p = p*10 + uint64(c-'0')
	}
	id := p<<1 | kind
	var again [KeyBytesMax]byte
	return id, string(appendTAOKey(again[:0], id)) == string(key)
}
