package reset

import (
	"bytes"
	"errors"
	"fmt"
)

var (
	// ErrJournal means that a line of a journal is none.
	ErrJournal = errors.New("reset: not a line of acknowledged writes")
	// ErrLost means that an acknowledged write is not there, or that
	// something is there which nobody wrote.
	ErrLost = errors.New("reset: an acknowledged write is lost")
)

// Unreported bounds how many writes of one writer may have been done in a life
// beyond the last one that is known outside: the one under way, and those whose
// line the reset took along.
const Unreported = 64

// Journal is what is known outside the machine: which writes were acknowledged.
type Journal struct {
	Acked  uint64                         // writes, over all lives
	last   [Writers]uint64                // newest acknowledged of a writer
	newest [Writers][KeysPerWriter]uint64 // and of each of its keys; 0: none
}

// Line is what leaves the machine when a write was acknowledged.
func Line(writer int, n uint64) string { return fmt.Sprintf("%d %d\n", writer, n) }

// ParseJournal reads lines in the order in which they came. The reset may have
// cut the last line of a life off: the next life's Begin comes after it.
func ParseJournal(text []byte) (*Journal, error) {
	j := &Journal{}
	for len(text) > 0 {
		line, rest, whole := bytes.Cut(text, []byte("\n"))
		text = rest
		if i := bytes.LastIndexByte(line, begin[0]); i >= 0 {
			line = line[i+1:] // what was cut off stands before it
		}
		if len(line) == 0 || !whole {
			continue
		}
		var writer int
		var n uint64
		if k, err := fmt.Sscanf(string(line), "%d %d", &writer, &n); err != nil || k != 2 || writer < 0 || writer >= Writers {
			return nil, fmt.Errorf("%w: %q", ErrJournal, line)
		}
		if n <= j.last[writer] {
			return nil, fmt.Errorf("%w: %q follows write %d", ErrJournal, line, j.last[writer])
		}
		j.add(writer, n)
	}
	return j, nil
}

const begin = "#"

// Begin is what a life says first. It ends a line that a reset cut off.
func Begin() string { return begin + "\n" }

func (j *Journal) add(writer int, n uint64) {
	j.Acked++
	j.last[writer] = n
	j.newest[writer][n%KeysPerWriter] = n
}

// First is the number of a writer's first write in the next life: above all it
// may have used.
func (j *Journal) First(writer int) uint64 { return j.last[writer] + 1 + Unreported }

// Judged is what looking at all keys has shown.
type Judged struct {
	Acknowledged int // keys of which a write was acknowledged; each holds that one or a newer one
	Present      int // keys that hold the newest acknowledged write
	Newer        int // that hold a newer one, which was under way at a reset
	Unwritten    int // that were never acknowledged, and hold nothing
}

// Judge looks at every key; value returns what a node has, nil if nothing.
//
// Errors: ErrLost, those of value.
func (j *Journal) Judge(value func(key string) ([]byte, error)) (Judged, error) {
	var d Judged
	for w := range Writers {
		for k := range uint64(KeysPerWriter) {
			key, want := Key(w, k), j.newest[w][k]
			v, err := value(key)
			if err != nil {
				return d, fmt.Errorf("reset: reading %s: %w", key, err)
			}
			n, own := number(v, w)
			if want != 0 {
				d.Acknowledged++
			}
			switch {
			case v == nil && want == 0:
				d.Unwritten++
			case v == nil:
				return d, fmt.Errorf("%w: %s: write %d was acknowledged, the node has nothing", ErrLost, key, want)
			case !own || n%KeysPerWriter != k:
				return d, fmt.Errorf("%w: %s holds %d bytes that nobody wrote (write %d was acknowledged)", ErrLost, key, len(v), want)
			case n < want:
				return d, fmt.Errorf("%w: %s: write %d was acknowledged, the node has the older %d", ErrLost, key, want, n)
			case n > j.last[w]+Unreported:
				return d, fmt.Errorf("%w: %s holds write %d; writer %d was last seen at %d", ErrLost, key, n, w, j.last[w])
			case n == want:
				d.Present++
			default:
				d.Newer++
			}
		}
	}
	return d, nil
}
