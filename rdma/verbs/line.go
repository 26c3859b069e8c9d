package verbs

import "healkv/rdma"

// line is what a writer says to a reader besides the stream's bytes, in the
// order of its words in memory. It is always written as a whole.
type line struct {
	tag     uint64 // attachment<<32 | incarnation of the reader; 0: detached
	feed    uint64 // 1 + position from which the reader reads; 0: not fed
	tail    uint64 // stream position; the bytes below it were written before
	marks   rdma.Marks
	sleep   uint64 // number of the writer's sleep that is to be rung for; 0: none yet
	version uint64 // grows with each line of the writer's life
}

// A line is lineWords words; the last one is the check value.
const (
	lineWords = 14
	lineBytes = 8 * lineWords
	checkWord = lineWords - 1
)

func (l *line) encode(w *[lineWords]uint64) {
	w[0], w[1], w[2] = l.tag, l.feed, l.tail
	m := &l.marks
	w[3], w[4], w[5], w[6] = m.Epoch, m.Visible, m.Stable, m.Applied
	w[7], w[8], w[9], w[10] = m.Durable, m.Room, m.Settled, m.Flushed
	w[11], w[12] = l.sleep, l.version
	w[checkWord] = check(w)
}

// decode is false for words that are not one line (V1): torn, or never written.
func (l *line) decode(w *[lineWords]uint64) bool {
	if w[checkWord] != check(w) {
		return false
	}
	l.tag, l.feed, l.tail = w[0], w[1], w[2]
	l.marks = rdma.Marks{Epoch: w[3], Visible: w[4], Stable: w[5], Applied: w[6], Durable: w[7], Room: w[8], Settled: w[9], Flushed: w[10]}
	l.sleep, l.version = w[11], w[12]
	return true
}

// check mixes all words but the last, each with its place. Words change little
// from line to line, and a torn line is one of old and new words: every bit of
// a word moves about half of the sum's. Never 0, which fresh memory has.
func check(w *[lineWords]uint64) uint64 {
	sum := uint64(0x9e3779b97f4a7c15)
	for i := range checkWord {
		x := w[i] ^ sum
		x *= 0xff51afd7ed558ccd
		x ^= x >> 32
		x *= 0xc4ceb9fe1a85ec53
		sum = x ^ x>>29
	}
	return sum | 1
}
