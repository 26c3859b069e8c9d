package crashtest

import (
	"bytes"
	"math/rand/v2"
	"slices"
)

// Window is what may happen between two drains: the medium as the first left
// it and every write since, in the order they were seen. It is valid during
// the call it is given to.
type Window struct {
	media  []byte
	writes []write

	units   []unit
	choice  []int
	ordered []int // indices of writes by line, then time
}

// unit is a line or a word and the contents it may have, the medium's first.
type unit struct {
	off      int
	n        int
	versions [][]byte
}

// How says which states Each went through.
type How uint8

const (
	Words   How = iota // every subset of 8-byte words in every version
	Lines              // every subset of lines in every version, and samples of torn ones
	Sampled            // by seed: too many to go through
)

func (h How) String() string { return [...]string{"words", "lines", "sampled"}[h] }

// Limits bound the states of one window.
type Limits struct {
	Exhaustive int // as many are gone through, if there are not more
	Samples    int // of a window with more, beside the first and the last
}

// Writes is how many line writes are in flight.
func (w *Window) Writes() int { return len(w.writes) }

// Each calls fn with the states of the window, each put into image (compact),
// until fn returns false. fn may change image.
func (w *Window) Each(rng *rand.Rand, l Limits, image []byte, fn func(image []byte) bool) How {
	w.order()
	if w.split(wordBytes); w.product() <= l.Exhaustive {
		w.all(image, fn)
		return Words
	}
	how := Sampled
	if w.split(lineBytes); w.product() <= l.Exhaustive {
		how = Lines
		if !w.all(image, fn) {
			return how
		}
	} else if !w.corners(image, l.Samples/2, rng, fn) {
		return how
	}
	for range l.Samples {
		w.sample(rng, image)
		if !fn(image) {
			break
		}
	}
	return how
}

func (w *Window) order() {
	w.ordered = w.ordered[:0]
	for i := range w.writes {
		w.ordered = append(w.ordered, i)
	}
	slices.SortStableFunc(w.ordered, func(a, b int) int { return int(w.writes[a].line) - int(w.writes[b].line) })
}

// split makes the units of one size: those that differ from the medium in some
// version.
func (w *Window) split(size int) {
	w.units = w.units[:0]
	for i := 0; i < len(w.ordered); {
		first := &w.writes[w.ordered[i]]
		end := i + 1
		for end < len(w.ordered) && w.writes[w.ordered[end]].line == first.line {
			end++
		}
		for part := 0; part < lineBytes; part += size {
			off := int(first.line)*lineBytes + part
			u := w.unit()
			u.off, u.n = off, size
			u.versions = append(u.versions[:0], w.media[off:off+size])
			for _, j := range w.ordered[i:end] {
				v := w.writes[j].data[part : part+size]
				if !slices.ContainsFunc(u.versions, func(have []byte) bool { return bytes.Equal(have, v) }) {
					u.versions = append(u.versions, v)
				}
			}
			if len(u.versions) == 1 {
				w.units = w.units[:len(w.units)-1]
			}
		}
		i = end
	}
}

// unit appends one, with the memory of an earlier use.
func (w *Window) unit() *unit {
	if len(w.units) < cap(w.units) {
		w.units = w.units[:len(w.units)+1]
	} else {
		w.units = append(w.units, unit{})
	}
	return &w.units[len(w.units)-1]
}

func (w *Window) product() int {
	n := 1
	for i := range w.units {
		if n *= len(w.units[i].versions); n > 1<<30 {
			break
		}
	}
	return n
}

// all goes through every choice of versions.
func (w *Window) all(image []byte, fn func([]byte) bool) bool {
	w.choice = append(w.choice[:0], make([]int, len(w.units))...)
	for {
		copy(image, w.media)
		for i, c := range w.choice {
			if u := &w.units[i]; c != 0 {
				copy(image[u.off:], u.versions[c])
			}
		}
		if !fn(image) {
			return false
		}
		i := 0
		for ; i < len(w.choice); i++ {
			if w.choice[i]++; w.choice[i] < len(w.units[i].versions) {
				break
			}
			w.choice[i] = 0
		}
		if i == len(w.choice) {
			return true
		}
	}
}

// corners are the states a sample would miss: nothing arrived, everything did,
// one line alone did or did not, and prefixes in the order of the stores.
func (w *Window) corners(image []byte, n int, rng *rand.Rand, fn func([]byte) bool) bool {
	newest := func(skip int) {
		copy(image, w.media)
		for i := range w.units {
			if u := &w.units[i]; i != skip {
				copy(image[u.off:], u.versions[len(u.versions)-1])
			}
		}
	}
	copy(image, w.media)
	if !fn(image) {
		return false
	}
	newest(-1)
	if !fn(image) {
		return false
	}
	for range n {
		switch i := rng.IntN(len(w.units)); rng.IntN(3) {
		case 0:
			copy(image, w.media)
			u := &w.units[i]
			copy(image[u.off:], u.versions[1+rng.IntN(len(u.versions)-1)])
		case 1:
			newest(i)
		default:
			copy(image, w.media)
			for _, x := range w.writes[:rng.IntN(len(w.writes))] {
				copy(image[int(x.line)*lineBytes:], x.data[:])
			}
		}
		if !fn(image) {
			return false
		}
	}
	return true
}

// sample makes one state by chance: units of one size, each as it stood at some
// moment of the window.
func (w *Window) sample(rng *rand.Rand, image []byte) {
	copy(image, w.media)
	size := [...]int{wordBytes, lineBytes, lineBytes, 512, pageBytes}[rng.IntN(5)]
	none, all := uint64(rng.IntN(8)), uint64(rng.IntN(8)) // eighths of the units
	seed := rng.Uint64()
	for i := range w.writes {
		x := &w.writes[i]
		at := int(x.line) * lineBytes
		for part := 0; part < lineBytes; part += min(size, lineBytes) {
			h := scramble(seed + uint64((at+part)/size))
			switch kind := h >> 61; {
			case kind < none:
				continue
			case kind < none+all: // all of its writes arrived
			case int(uint32(h))%len(w.writes) < i:
				continue // written back before this write
			}
			n := min(size, lineBytes)
			copy(image[at+part:at+part+n], x.data[part:])
		}
	}
}

func scramble(x uint64) uint64 {
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>32
}
