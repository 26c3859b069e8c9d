package reset

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ErrLoad means that the load was disturbed before the reset came: a write that
// failed, or a node that ended. Such a life proves nothing.
var ErrLoad = errors.New("reset: the load was disturbed")

// Load is the writers of one life, until something goes wrong or ctx ends: the
// reset takes it along.
type Load struct {
	Journal *Journal
	// Set writes one value and returns when it was acknowledged.
	Set func(ctx context.Context, writer int, key string, value []byte) error
	// Say brings a line to where no reset reaches it. One caller at a time.
	Say func(line string) error
	// Ready is called once, when every writer has had its first acknowledgement.
	Ready func()
	// Ended brings what is said of a node that ended; closed: of all of them.
	Ended <-chan string
}

// Run writes. ErrLoad with the first thing that went wrong; nil when ctx ended.
// All writers have stopped then.
func (l *Load) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var one sync.Mutex // a line is said whole
	say := func(line string) error {
		one.Lock()
		defer one.Unlock()
		return l.Say(line)
	}
	if err := say(Begin()); err != nil {
		return fmt.Errorf("%w: saying that it begins: %w", ErrLoad, err)
	}
	var going atomic.Int32
	var writers sync.WaitGroup
	for w := range Writers {
		writers.Go(func() {
			for n := l.Journal.First(w); ctx.Err() == nil; n++ {
				err := l.Set(ctx, w, Key(w, n), Value(nil, w, n))
				if err == nil {
					err = say(Line(w, n))
				}
				if err != nil {
					stop(fmt.Errorf("%w: writer %d, write %d: %w", ErrLoad, w, n, err))
					return
				}
				if n == l.Journal.First(w) && going.Add(1) == Writers {
					l.Ready()
				}
			}
		})
	}
	select {
	case <-ctx.Done():
	case what, open := <-l.Ended:
		if !open {
			what = "all nodes ended"
		}
		stop(fmt.Errorf("%w: %s", ErrLoad, what))
	}
	writers.Wait()
	if err := context.Cause(ctx); errors.Is(err, ErrLoad) {
		return err
	}
	return nil
}
