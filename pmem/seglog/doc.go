// Package seglog is the record log of one shard: segments of fixed size in an
// arena of bytes, mapped or on the Go heap. Records are appended, read by
// position, flushed by range; sparse segments are emptied by the caller (store)
// and given back.
//
// It is not an index and does not know which record of a key is the newest; it
// flushes nothing itself (Ranges says what to flush) and opens no file.
//
// Sources: storage.md, "Log", "Damage", "Space"; hazards H14, H20, H25.
//
// # Positions
//
// A log position is a logical byte offset: segment number times SegmentBytes
// plus the offset in the segment. Numbers start at 1 and are never used again,
// so positions only grow, and 0 is none. A table maps numbers to places in the
// arena; its slots are read by any goroutine and written by the worker.
//
// # Where the log ends
//
// A segment header carries a seal: one word, written when the next segment is
// opened, naming where the last record ends. Below the newest segment a walk
// must arrive exactly there, so a lost page in the middle is noticed as well
// as a flipped bit. In the newest segment the end is the first header that
// does not verify. Every header also carries the position the log was durable
// through when it was appended: if any readable header claims more than where
// the walk ended, the log is damaged; otherwise what follows was never
// promised to anybody and is cut off (torn tail). Several segments may have been
// begun since the last flush, and a power loss keeps any of their pages: the
// log then ends in the first of them that is not whole, whatever came through
// of the later ones.
//
// After the last record stands a blank header (64 zero bytes), written before
// the record itself, so that after a process crash the scan meets a blank, not
// bytes of the segment's last use. After a power loss such bytes can follow;
// they fail the checksum, whose seed is position and incarnation.
//
// # Life of a segment
//
// free → open → sealed → retired (examined, nothing refers to it) → released
// (header zeroed) → free. A released segment is written again only after the
// flush that follows its release: otherwise a power loss could leave its old
// header over new contents. The header of a free place says which place it is and
// which segment lay there last (free.go).
//
// Units: bytes. Invariants, by number in asserts and tests:
//
//	L1  Positions never step back and are never given out twice.
//	L2  A record lies within one segment, and a segment has one incarnation.
//	L3  Between a record's append and its segment's release its bytes do not
//	    change.
//	L4  A segment's place is written again only after its zeroed header was
//	    flushed.
//	L5  Flushed never passes the tail and never steps back.
//
// One goroutine, the shard's worker, calls everything except Tail, Flushed,
// SetFlushed, FreeBytes, and Record, ArenaOffset, Oldest, IncarnationOf, Walk and
// Scan; the latter any goroutine may call that keeps the segments it reads from being released (an
// announced reader of store, a pin, or nobody appending). Nothing allocates
// but Format, Recover, Discard, Segments and errors.
package seglog
