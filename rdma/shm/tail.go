//go:build !plant

package shm

func storeTail(p *page, pos uint64) { p.tail.Store(pos) }
