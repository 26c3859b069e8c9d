package membership

import (
	"time"

	"healkv/dataplane/flow"
	"healkv/dataplane/plant"
)

// An acceptor whose file could not be written votes no more, and grants no
// lease, until the whole file was written anew and flushed. It forgot nothing
// meanwhile: what it had promised or accepted in memory only was never answered,
// and goes to the disk with the rest.

// mendPause is how long to wait before the first try, and mendMost the longest
// wait: it doubles.
func (s *Service) mendPause() time.Duration { return time.Duration(s.lease) }
func (s *Service) mendMost() time.Duration  { return 10 * time.Duration(s.lease) }

// mender tries to write a file again that could not be written.
func (s *Service) mender() {
	for s.until(-1, s.broken) {
		for pause := s.mendPause(); ; pause = min(2*pause, s.mendMost()) {
			if s.pause(s.ctx, pause) != nil {
				return
			}
			if !plant.Is(plant.MendNever) && s.mend() {
				break
			}
		}
	}
}

// mend writes both slots, each flushed before the other is touched: the one
// that was being written first, since the other may be the only whole one.
func (s *Service) mend() bool {
	s.takeDisk()
	defer s.leaveDisk()
	s.mu.Lock()
	st := s.acceptor.State
	s.mu.Unlock()
	s.file.failed = nil
	if plant.Is(plant.MendUnwritten) {
		if s.file.f.Sync() != nil {
			return false
		}
	} else {
		for range 2 {
			if s.save(st) != nil {
				return false
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return true
	}
	s.log.Info("membership: the acceptor's file is written again, this node votes again", "was", s.stopped)
	s.stopped = nil
	s.counts.Mended++
	flow.Signal(s.learnt) // what came meanwhile
	flow.Signal(s.beatNow)
	flow.Signal(s.look)
	return true
}

// failedLocked notes that the file could not be written.
func (s *Service) failedLocked(err error) {
	if s.closed {
		return
	}
	if s.stopped == nil {
		flow.Signal(s.broken)
		s.log.Error("membership: votes no more until its file can be written; tries again by itself", "err", err)
	}
	s.stopped = err
}
