package demo

import (
	"healkv/bench/interference"
)

// watchScheduler begins to watch, if that was asked for and is permitted; the
// function it returns ends it.
func (r *runner) watchScheduler() (end func()) {
	if !r.o.Interference {
		r.unwatched = "not asked for (--interference)."
		return func() {}
	}
	w, err := interference.Start()
	if err != nil {
		r.unwatched = err.Error() + "."
		r.say("the scheduler is not watched: %v", err)
		return func() {}
	}
	r.watcher = w
	return func() {
		if err := w.Stop(); err != nil {
			r.say("watching the scheduler: %v", err)
		}
	}
}

// watchNodes adds the hot-path threads of all processes that live now.
func (r *runner) watchNodes() {
	if r.watcher == nil {
		return
	}
	for i, p := range r.k.procs {
		pid := p.cmd.Process.Pid
		r.pids = append(r.pids, pid)
		if n, err := r.watcher.WatchProcess(pid, i); err != nil || n == 0 {
			r.say("no hot-path thread of node %d is watched: %v", i, err)
		}
	}
}

// interference is what a run's report asks: about the nodes that lived on, while
// the victim's present process recovers or not.
func (r *runner) interference(victim int) func(from, to int64, recovering bool) interference.Share {
	if r.watcher == nil {
		return nil
	}
	back := r.k.procs[victim].cmd.Process.Pid
	return func(from, to int64, recovering bool) interference.Share {
		nodes := interference.Nodes{All: r.pids}
		if recovering {
			nodes.Recovering = back
		}
		return r.watcher.Between(from, to, nodes, func(t interference.Thread) bool { return t.Node != victim })
	}
}
