package explore

import "healkv/dataplane/proto"

// memo holds the outcomes of steps: open addressing, local state and step in
// three words.
type memo struct {
	table []known
	n     int
}

type known struct {
	local, what, arg uint32
	outcome
}

func (s step) word() uint32 { return 1<<24 | uint32(s.op)<<16 | uint32(s.a)<<8 | uint32(s.b) }

func (m *memo) place(local, what, arg uint32) *known {
	h := uint64(local)<<32 | uint64(arg)
	h = (h ^ h>>29 ^ uint64(what)<<17) * 0x9e3779b97f4a7c15
	h = (h ^ h>>32) * 0xd6e8feb86659fd93
	mask := uint64(len(m.table) - 1)
	for i := (h ^ h>>32) & mask; ; i = (i + 1) & mask {
		if k := &m.table[i]; k.what == 0 || k.local == local && k.what == what && k.arg == arg {
			return k
		}
	}
}

func (m *memo) get(local uint32, s step) (outcome, bool) {
	if m.n == 0 {
		return outcome{}, false
	}
	k := m.place(local, s.word(), s.arg)
	return k.outcome, k.what != 0
}

func (m *memo) put(local uint32, s step, o outcome) {
	if 2*m.n >= len(m.table) {
		old := m.table
		m.table = make([]known, max(1<<12, 2*len(old)))
		for i := range old {
			if k := &old[i]; k.what != 0 {
				*m.place(k.local, k.what, k.arg) = *k
			}
		}
	}
	m.n++
	*m.place(local, s.word(), s.arg) = known{local, s.word(), s.arg, o}
}

// bar numbers a timestamp.
func (e *Explorer) bar(ts proto.TS) uint32 {
	for i := range e.bars {
		if e.bars[i] == ts {
			return uint32(i)
		}
	}
	e.bars = append(e.bars, ts)
	return uint32(len(e.bars) - 1)
}
