package store

import (
	"healkv/pmem/index"
	"healkv/pmem/record"
)

// CopyOf appends to dst the image of the current record with that key hash and
// timestamp, for another node: pos and incarnation are what its header is sealed
// with. ok is false if there is none, if it is locked, or if its header does not
// verify. Worker only.
func (s *Store) CopyOf(hash, ts uint64, dst []byte) (img []byte, pos uint64, incarnation uint32, ok bool) {
	var c index.Cursor
	var h record.Header
	s.x.Seek(&c, hash)
	for c.Next() {
		pos = c.Word().Pos()
		src := s.log.Record(pos)
		incarnation, _ = s.log.IncarnationOf(pos)
		if record.VerifyHeader(src, record.Seed(pos, incarnation), &h) != nil || h.Hash != hash || h.TS != ts || c.Word().Locked() {
			continue
		}
		return append(dst, src[:h.Bytes()]...), pos, incarnation, true
	}
	return dst, 0, 0, false
}
