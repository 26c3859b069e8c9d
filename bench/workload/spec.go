package workload

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
)

var (
	ErrUnknownWorkload = errors.New("workload: unknown workload")
	ErrKeys            = errors.New("workload: too few keys")
	ErrValueBytes      = errors.New("workload: bad value size")
)

const (
	// stampBytes is the timestamp at the end of every value.
	stampBytes = 8

	// TAOValueBytes is a TAOBench value: 150 bytes of data and the timestamp.
	TAOValueBytes = 150 + stampBytes
	// YCSBValueBytes is YCSB's record of ten fields of 100 bytes.
	YCSBValueBytes = 1000

	// KeyBytesMax bounds what AppendKey appends.
	KeyBytesMax = 64

	keysMin       = 1000
	valueBytesMax = 1 << 20
)

// OpKind is what an access does.
type OpKind uint8

const (
	Read OpKind = iota
	Write
	Insert // a write of a key that may not be there yet
)

func (k OpKind) String() string { return [...]string{"read", "write", "insert"}[k] }

// Access is one access to one key.
type Access struct {
	Key   uint64 // id, 0 to Capacity-1
	Kind  OpKind
	First bool // the first access of a request: counting these counts requests
}

// Options of a Spec; the zero value of a field takes the workload's own.
type Options struct {
	Keys       uint64 // loaded keys; rounded up to what the workload places evenly
	ValueBytes int    // of a value, timestamp included
	Dist       string // YCSB: "zipfian", "uniform" or "latest"
	// HotShare is the part of the keys "overwrite" writes; 0 takes 0.01.
	HotShare float64
}

type family uint8

const (
	familyTAO family = iota
	familyYCSB
	familyPlain
)

// Spec describes one workload. It does not change after New.
type Spec struct {
	name       string
	about      string
	family     family
	keys       uint64
	capacity   uint64
	valueBytes int

	tao  taoModel
	ycsb ycsbModel
	hot  uint64 // familyPlain: keys written, every keys/hot-th one
}

// Names lists what New knows.
func Names() []string {
	return []string{
		"taobench-a", "taobench-o", "taobench-ro",
		"ycsb-a", "ycsb-b", "ycsb-c", "ycsb-d", "ycsb-f",
		"write-only", "overwrite", "overwrite-zipfian",
	}
}

// New makes the workload of that name. Errors: ErrUnknownWorkload, ErrKeys,
// ErrValueBytes.
func New(name string, o Options) (*Spec, error) {
	if o.Keys < keysMin {
		return nil, fmt.Errorf("%w: %d, at least %d", ErrKeys, o.Keys, keysMin)
	}
	s := &Spec{name: name, keys: o.Keys, capacity: o.Keys}
	if o.Dist != "" && !strings.HasPrefix(name, "ycsb-") {
		return nil, fmt.Errorf("%w: only YCSB takes a distribution, %q does not", ErrUnknownWorkload, name)
	}
	var err error
	switch {
	case strings.HasPrefix(name, "taobench-"):
		err = s.initTAO(strings.TrimPrefix(name, "taobench-"))
	case strings.HasPrefix(name, "ycsb-"):
		err = s.initYCSB(strings.TrimPrefix(name, "ycsb-"), o.Dist)
	case name == "overwrite-zipfian":
		s.initOverwrite()
	case name == "write-only", name == "overwrite":
		err = s.initPlain(o.HotShare)
	default:
		err = fmt.Errorf("%w: %q; known: %s", ErrUnknownWorkload, name, strings.Join(Names(), ", "))
	}
	if err != nil {
		return nil, err
	}
	if o.ValueBytes != 0 {
		s.valueBytes = o.ValueBytes
	}
	if s.valueBytes < stampBytes || s.valueBytes > valueBytesMax {
		return nil, fmt.Errorf("%w: %d, from %d to %d", ErrValueBytes, s.valueBytes, stampBytes, valueBytesMax)
	}
	return s, nil
}

func (s *Spec) initPlain(hotShare float64) error {
	s.family, s.valueBytes = familyPlain, TAOValueBytes
	s.keys = (s.keys + 1) / 2 * 2 // the keys are TAOBench's
	s.capacity, s.hot = s.keys, s.keys
	s.about = "only writes, uniform over all keys"
	if s.name == "overwrite" {
		if hotShare == 0 {
			hotShare = 0.01
		}
		if !(hotShare > 0 && hotShare <= 1) {
			return fmt.Errorf("%w: share of keys to overwrite is %v, above 0 and at most 1", ErrKeys, hotShare)
		}
		s.hot = max(uint64(float64(s.keys)*hotShare), 1)
		s.about = fmt.Sprintf("only writes, uniform over %d of the keys (%.3g %%)", s.hot, 100*hotShare)
	}
	return nil
}

// Name is the name New was given, with the distribution if one was asked for.
func (s *Spec) Name() string { return s.name }

// About says in one line what is to be said wherever a figure is shown.
func (s *Spec) About() string { return s.about }

// Keys is how many keys the load phase inserts: ids 0 to Keys-1.
func (s *Spec) Keys() uint64 { return s.keys }

// Capacity bounds all ids, those of later inserts included.
func (s *Spec) Capacity() uint64 { return s.capacity }

// ValueBytes is the size of every value.
func (s *Spec) ValueBytes() int { return s.valueBytes }

// WriteShare is the expected part of the accesses that write, 0 to 1.
func (s *Spec) WriteShare() float64 {
	switch s.family {
	case familyTAO:
		return s.tao.writeShare()
	case familyYCSB:
		return s.ycsb.writeShare()
	}
	return 1
}

// RequestAccesses is the expected number of accesses of one request.
func (s *Spec) RequestAccesses() float64 {
	switch s.family {
	case familyTAO:
		return s.tao.requestAccesses()
	case familyYCSB:
		return s.ycsb.requestAccesses()
	}
	return 1
}

// AppendKey appends the bytes of key id, at most KeyBytesMax of them.
func (s *Spec) AppendKey(dst []byte, id uint64) []byte {
	if s.family == familyYCSB {
		return appendYCSBKey(dst, id)
	}
	return appendTAOKey(dst, id)
}

// KeyID is the id whose bytes these are; ok is false for any other bytes.
func (s *Spec) KeyID(key []byte) (id uint64, ok bool) {
	if s.family == familyYCSB {
		id, ok = ycsbKeyID(key)
	} else {
		id, ok = taoKeyID(key)
	}
	return id, ok && id < s.capacity
}

// AppendValue appends the value a write of key id carries: filler that depends
// on id and stamp, and the stamp in the last eight bytes, low byte first.
func (s *Spec) AppendValue(dst []byte, id, stamp uint64) []byte {
	at := mix64(id^stamp*mixA) % fillerSpan
	for rest := s.valueBytes - stampBytes; rest > 0; {
		n := min(rest, len(filler)-int(at))
		dst = append(dst, filler[at:int(at)+n]...)
		rest, at = rest-n, 0
	}
	return binary.LittleEndian.AppendUint64(dst, stamp)
}

// Stamp reads the timestamp back out of a value; ok is false if it is too short.
func Stamp(value []byte) (stamp uint64, ok bool) {
	if len(value) < stampBytes {
		return 0, false
	}
	return binary.LittleEndian.Uint64(value[len(value)-stampBytes:]), true
}

// filler is what values are cut from: incompressible, the same in every run, and
// small enough to stay in the cache, since making it is not what is measured.
const fillerSpan = 4096

var filler = func() []byte {
	b := make([]byte, 0, 2*fillerSpan)
	for i := range uint64(2 * fillerSpan / 8) {
		b = binary.LittleEndian.AppendUint64(b, mix64(i+1))
	}
	return slices.Clip(b)
}()
