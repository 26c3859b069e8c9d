package store

import (
	"healkv/pmem/index"
	"healkv/pmem/record"
)

// Drop takes the record at pos out of the index, if it is its key's current one:
// the key is then as if it had never been written. The record stays in the log
// until its segment is cleaned, and an opening that reads the log finds it again:
// whoever drops a tombstone sees to it that nothing older of the key is left
// (protocol.md, "Tombstones"). Worker only.
func (s *Store) Drop(hash, pos uint64) bool {
	var c index.Cursor
	if !s.own(&c, hash, pos) {
		return false
	}
	img := s.log.Record(pos)
	e := Entry{OK: true, TS: record.TS(img), Tombstone: record.KindOf(img) == record.Delete, hash: hash, crc: record.BodyCRC(img)}
	s.x.Erase(&c)
	s.inserts++ // cursors found before are sought again
	if e.Tombstone && s.log.CountedAt(pos) {
		s.tombstones.Add(-1)
	}
	s.log.Dead(pos, record.ImageBytes(img))
	s.digest.dropped(&e)
	return true
}
