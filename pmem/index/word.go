package index

// Word is one entry of a bucket: tag (15 bits), lock (1 bit), reference (48
// bits: log position / 16). A reference of 0 says that the word is empty.
type Word uint64

const (
	refBits  = 48
	lockMask = 1 << refBits
	refMask  = lockMask - 1
	tagMask  = 1<<64 - 1<<(refBits+1)

	posShift = 4 // log positions are multiples of 16

	// deadWord stands for an erased word. Position 16 lies in the header of the
	// first segment and is never a record.
	deadWord = 1

	tagShift    = 26 // hash bits 37..23 to word bits 63..49
	bucketShift = 15 // hash bits 22..15
	depthLimit  = 26 // the directory uses hash bits 63..38 at most
)

// The three uses of a hash do not overlap: directory, tag, bucket.
const (
	_ = uint(64 - depthLimit - (64 - tagShift))
	_ = uint((64 - tagShift - 15) - (bucketShift + 8))
)

// PosMax is the highest log position a word can hold.
const PosMax = uint64(refMask) << posShift

// MakeWord returns the word for a key's hash and the position of its record.
func MakeWord(hash, pos uint64, locked bool) Word {
	w := hash<<tagShift&tagMask | pos>>posShift&refMask
	if locked {
		w |= lockMask
	}
	return Word(w)
}

// Pos returns the log position the word refers to.
func (w Word) Pos() uint64 { return uint64(w) & refMask << posShift }

// Locked reports whether the word's record is above its owner's visible position.
func (w Word) Locked() bool { return uint64(w)&lockMask != 0 }

// WithLock returns the word with the lock bit set or cleared.
func (w Word) WithLock(locked bool) Word {
	if locked {
		return w | lockMask
	}
	return w &^ lockMask
}

// WithPos returns the word with another position, tag and lock bit kept.
func (w Word) WithPos(pos uint64) Word {
	return Word(uint64(w)&^refMask | pos>>posShift&refMask)
}

func live(w uint64) bool { return w&refMask > deadWord }
