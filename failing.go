package healkv

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/dataplane/replica"
	"healkv/heal/membership"
	"healkv/pmem"
)

// A life that ends because its device failed is followed by another one, after a
// pause that doubles: the pool is opened again, nothing above what was durable
// is trusted, and what was missed is fetched. So the node is back as soon as
// the device is, and costs the others little until then.
const (
	failPauseFirst = 100 * time.Millisecond
	failPauseMost  = 30 * time.Second
	// failForgets: a life that served so long begins the pauses anew.
	failForgets = 2 * failPauseMost
	// failLoud in a row: it will not mend itself.
	failLoud = 8
)

// failing is what is known of lives that ended by a failure of what they stand
// on. Guarded by Node.mu.
type failing struct {
	why    error // of the last one; nil since a life serves
	tries  int   // in a row
	total  uint64
	next   time.Time // when the next life begins
	worked time.Time // when the last life became live; zero: it did not
	begun  bool      // a life of this process has had its pools: the configuration is fine
	stays  bool      // in the view, since nobody could take over
}

// FailingStatus is why a node has no life, or none that has served since.
type FailingStatus struct {
	Why   string        `json:"why"`
	Tries int           `json:"tries"`      // lives in a row that ended so
	Next  time.Duration `json:"next_in_ns"` // until the next one begins; 0: it has begun
}

// final reports whether no other life of this process would do better: what it
// was given is wrong, not what it stands on. begun: a life had begun before, so
// that nothing the kernel refuses is an error of configuration.
func final(err error, begun bool) bool {
	if plant.Is(plant.PoolFinal) {
		return true
	}
	if errors.Is(err, replica.ErrIndexFull) {
		return !errors.Is(err, pmem.ErrNoSpace) // max_keys does not grow, a tmpfs empties
	}
	for _, of := range []error{pmem.ErrFlush, pmem.ErrFault, pmem.ErrNoSpace, pmem.ErrSize, pmem.ErrNoPool, pmem.ErrSuperblock, pmem.ErrDamaged, pmem.ErrDecayed} {
		if errors.Is(err, of) {
			return false
		}
	}
	// What the kernel refuses depends on its state: a device or a file system that
	// is not there, an address that another process has.
	var refused syscall.Errno
	if !errors.As(err, &refused) {
		return true
	}
	switch refused {
	case syscall.ENOSPC, syscall.EDQUOT, syscall.EIO, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM:
		return false
	}
	return !begun
}

// failPause is how long to wait after so many failures in a row.
func failPause(tries int) time.Duration {
	if plant.Is(plant.PoolAtOnce) {
		return 0
	}
	return min(failPauseFirst<<min(max(tries-1, 0), 20), failPauseMost)
}

// leaveFailed takes a life whose pool failed out of the view: the others need
// not wait for its lease.
func (n *Node) leaveFailed(l *life) {
	ctx, cancel := context.WithTimeout(n.ctx, 2*n.lease())
	defer cancel()
	err := n.leave(ctx, l)
	n.mu.Lock()
	n.failing.stays = errors.Is(err, membership.ErrNoHeir) || errors.Is(err, membership.ErrLastLive)
	n.mu.Unlock()
}

// failAgain waits for the time of the next life. A drain ends it, too.
func (n *Node) failAgain(err error) {
	n.mu.Lock()
	f := &n.failing
	if !f.worked.IsZero() && time.Since(f.worked) > failForgets {
		f.tries = 0
	}
	f.why, f.worked = err, time.Time{}
	f.tries++
	f.total++
	pause := failPause(f.tries)
	f.next = time.Now().Add(pause)
	tries := f.tries
	n.resting, n.stays = true, f.stays
	stays := f.stays
	f.stays = false
	ctx, end := context.WithCancel(n.ctx)
	n.endLife = end
	n.mu.Unlock()
	defer end()
	n.event("failed", 0, fmt.Sprintf("try %d, the next in %v: %v", tries, pause, err))
	said := n.log.Warn
	if tries >= failLoud {
		said = n.log.Error
	}
	said("the node has no life: it opens its pools again by itself", "err", err, "failures", tries, "again_in", pause)
	if !stays {
		// From here on the others hear that no life runs.
		n.members.SetMember(proto.Member{Node: proto.NodeID(n.cfg.Node)})
		v := n.members.Current()
		n.leaveAgain(&v)
	}
	select {
	case <-ctx.Done():
	case <-time.After(pause):
	}
	n.mu.Lock()
	f.next = time.Time{}
	if !n.drained {
		n.resting, n.stays = false, false
	}
	n.mu.Unlock()
}

// works notes that a life has become live.
func (n *Node) works() {
	n.mu.Lock()
	f := &n.failing
	why, tries := f.why, f.tries
	f.why, f.worked = nil, time.Now()
	n.mu.Unlock()
	if why != nil {
		n.event("works_again", 0, fmt.Sprintf("after %d failures, the last: %v", tries, why))
		n.log.Info("serves again after failures", "failures", tries, "last", why)
	}
}

// isFinal is final of a life that has ended.
func (n *Node) isFinal(err error) bool {
	n.mu.Lock()
	begun := n.failing.begun
	n.mu.Unlock()
	return final(err, begun)
}

// failingStatus is nil while all is well. mu is not held.
func (n *Node) failingStatus() *FailingStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := &n.failing
	if f.why == nil {
		return nil
	}
	return &FailingStatus{Why: f.why.Error(), Tries: f.tries, Next: max(0, time.Until(f.next))}
}

// said is one line for status; "" between lives that failed for a moment only.
func (f *FailingStatus) said() string {
	if f == nil {
		return ""
	}
	line := fmt.Sprintf("%s: failed %d times in a row", f.Why, f.Tries)
	if f.Next > 0 {
		line += fmt.Sprintf("; opens its pools again in %v", f.Next.Round(100*time.Millisecond))
	}
	return line
}
