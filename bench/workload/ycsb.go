package workload

import "fmt"

type ycsbDist uint8

const (
	distZipfian ycsbDist = iota
	distUniform
	distLatest
)

// ycsbModel is one of YCSB's core workloads.
type ycsbModel struct {
	read, update, insert, readModifyWrite float64 // parts of the requests, sum 1
	dist                                  ycsbDist
}

func (s *Spec) initYCSB(which, dist string) error {
	s.family, s.valueBytes = familyYCSB, YCSBValueBytes
	m := &s.ycsb
	switch which {
	case "a":
		m.read, m.update = 0.5, 0.5
	case "b":
		m.read, m.update = 0.95, 0.05
	case "c":
		m.read = 1
	case "d":
		m.read, m.insert, m.dist = 0.95, 0.05, distLatest
	case "e":
		return fmt.Errorf("%w: YCSB E is scans, and HealKV has point operations; known: a, b, c, d, f", ErrUnknownWorkload)
	case "f":
		m.read, m.readModifyWrite = 0.5, 0.5
	default:
		return fmt.Errorf("%w: YCSB %q; known: a, b, c, d, f", ErrUnknownWorkload, which)
	}
	switch dist {
	case "":
	case "zipfian":
		m.dist = distZipfian
	case "uniform":
		m.dist = distUniform
	case "latest":
		m.dist = distLatest
	default:
		return fmt.Errorf("%w: distribution %q; known: zipfian, uniform, latest", ErrUnknownWorkload, dist)
	}
	if dist != "" {
		s.name += "/" + dist
	}
	if m.insert > 0 {
		s.capacity = s.keys + s.keys/2
	}
	shown := [...]string{"zipfian 0.99 over hashed keys", "uniform", "latest"}[m.dist]
	s.about = fmt.Sprintf("YCSB %s: %s; %.3g %% of the accesses write", which, shown, 100*m.writeShare())
	return nil
}

// initOverwrite is YCSB's keys and its zipfian, and nothing but updates, with
// the value size of the other workloads of ours.
func (s *Spec) initOverwrite() {
	s.family, s.valueBytes = familyYCSB, TAOValueBytes
	s.ycsb = ycsbModel{update: 1}
	s.about = "only writes, zipfian 0.99 over hashed keys"
}

func (m *ycsbModel) writeShare() float64 {
	return (m.update + m.insert + m.readModifyWrite) / m.requestAccesses()
}

func (m *ycsbModel) requestAccesses() float64 { return 1 + m.readModifyWrite }

const ycsbDigits = 20

// appendYCSBKey is "user" and the hashed id. The hash is a bijection, where
// YCSB's is not: ids have to come back from keys.
func appendYCSBKey(dst []byte, id uint64) []byte {
	var d [ycsbDigits]byte
	for i, h := ycsbDigits-1, mix64(id); i >= 0; i, h = i-1, h/10 {
		d[i] = '0' + byte(h%10)
	}
	dst = append(dst, "user"...)
	return append(dst, d[:]...)
}

func ycsbKeyID(key []byte) (uint64, bool) {
	if len(key) != 4+ycsbDigits || string(key[:4]) != "user" {
		return 0, false
	}
	h := uint64(0)
	for _, c := range key[4:] {
		if c < '0' || c > '9' {
			return 0, false
		}
		h = h*10 + uint64(c-'0')
	}
	id := unmix64(h)
	var again [KeyBytesMax]byte
	return id, string(appendYCSBKey(again[:0], id)) == string(key)
}
