package healkv

import (
	"context"
	"sync"
	"time"
)

// prefaultPause is between two steps, each of a huge page: a GiB takes half a second
// or little more, and the rest of the process the cores meanwhile.
const prefaultPause = time.Millisecond

// prefault fills the page tables of a life's pools once it has served for a while,
// until stop is called: not while clients wait for it to come back.
func (n *Node) prefault(l *life) (stop func()) {
	ctx, cancel := context.WithCancel(n.ctx)
	var done sync.WaitGroup
	done.Go(func() {
		n.mu.Lock()
		ready := n.ready
		n.mu.Unlock()
		select {
		case <-ready:
		case <-ctx.Done():
		}
		rest(ctx, sparePause)
		for _, p := range l.pools {
			for next := 0; ctx.Err() == nil; rest(ctx, prefaultPause) {
				if next = p.Prefault(next); next == 0 {
					break
				}
			}
		}
	})
	return func() { cancel(); done.Wait() }
}
