package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"healkv"
	"healkv/cmd/node/local"
	"healkv/cmd/node/operator"
)

// errRestart ends `node serve` with the status that asks whoever started it to
// start it again.
var errRestart = errors.New("to be started again, by order")

// orders is what an operator's order leaves for serve to do.
type orders struct {
	leave chan operator.Drain // the process is to end
}

func newOrders() orders { return orders{leave: make(chan operator.Drain, 1)} }

// takeOrders listens for orders until the result is called. A state directory
// where no socket can be costs the orders, not the node.
func (s *served) takeOrders(node *healkv.Node, log *slog.Logger) (end func()) {
	server, err := operator.Serve(s.c.StateDir, s.actions(node), log)
	if err != nil {
		log.Error("takes no orders: `node drain`, `node rolling` and `node cold-start` do not reach this node", "error", err)
		return func() {}
	}
	return func() {
		last, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := server.Close(last); err != nil {
			log.Warn("the socket for orders", "error", err)
		}
	}
}

func (s *served) actions(node *healkv.Node) operator.Actions {
	return operator.Actions{
		Audit: node.Ordered,
		Drain: func(ctx context.Context, o operator.Drain) (operator.Done, error) {
			if !o.Stay && !o.Force {
				if err := node.MayStop(); err != nil {
					return operator.Done{}, err
				}
			}
			if o.Stay && node.Ending() {
				return operator.Done{}, fmt.Errorf("%w: the process of node %d is ending already", healkv.ErrDrain, s.c.Node)
			}
			began := time.Now()
			err := node.Drain(ctx)
			if err != nil && !errors.Is(err, healkv.ErrDrained) {
				return operator.Done{}, err
			}
			st, took := node.Status(), time.Since(began).Round(100*time.Microsecond)
			done := operator.Done{Text: fmt.Sprintf("node %d left the view in %v (epoch %d)", st.Node, took, st.Epoch)}
			if err != nil {
				done = operator.Done{Text: fmt.Sprintf("node %d serves no more, after %v (epoch %d)", st.Node, took, st.Epoch), Failed: err.Error()}
			}
			if !o.Stay {
				node.End() // before the next order is taken
				select {
				case s.leave <- o:
				default: // it ends already
				}
			}
			return done, nil
		},
		Resume: func() (operator.Done, error) {
			if err := node.Resume(); err != nil {
				return operator.Done{}, err
			}
			return operator.Done{Text: fmt.Sprintf("node %d comes back", s.c.Node)}, nil
		},
		Forget: func() (operator.Done, error) {
			epoch, err := node.ForgetMissed()
			if err != nil {
				return operator.Done{}, err
			}
			return operator.Done{Text: fmt.Sprintf("node %d has forgotten what was missed through view %d", s.c.Node, epoch)}, nil
		},
		AcceptLoss: func() (operator.Done, error) {
			n, err := node.AcceptLoss()
			if err != nil {
				return operator.Done{}, err
			}
			return operator.Done{Text: fmt.Sprintf("node %d has given up %d damaged records; the others follow", s.c.Node, n)}, nil
		},
		ColdStart: func(o operator.ColdStart) (operator.Done, error) {
			loses, err := node.ForceColdStart(o.Epoch, o.Without, o.Dry)
			return operator.Done{Text: loses}, err
		},
	}
}

// exitStatus is what a command's error makes of the process.
func exitStatus(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return 2
	case err == errRestart: // not where something failed beside
		return local.RestartStatus
	}
	return 1
}
