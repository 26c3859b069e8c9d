package main

import (
	"healkv/bench/interference"
	"healkv/cmd/node/admin"
)

// watchScheduler begins to watch the node's own workers, if the configuration
// asks for it; the function it returns ends it. That it is not permitted is said,
// and costs only the metrics.
func (s *served) watchScheduler() (end func()) {
	if !s.c.Bench.Interference {
		return func() {}
	}
	w, err := interference.Start()
	if err != nil {
		s.log.Error("the scheduler is not watched", "error", err)
		return func() {}
	}
	s.watcher = w
	return func() {
		if err := w.Stop(); err != nil {
			s.log.Error("watching the scheduler", "error", err)
		}
	}
}

// interferenceMetrics are what the workers went through since the start. New
// threads, of a new life, join at the next reading.
func (s *served) interferenceMetrics() []admin.Metric {
	if s.watcher == nil {
		return nil
	}
	if _, err := s.watcher.WatchProcess(s.pid, int(s.c.Node)); err != nil {
		s.log.Error("the scheduler is not watched", "error", err)
	}
	total := s.watcher.Totals([]int{s.pid})
	seconds := func(name, help string, ms float64, labels ...admin.Label) admin.Metric {
		return admin.Metric{Name: "healkv_worker_" + name + "_seconds_total", Help: help, Kind: "counter", Value: ms / 1000, Labels: labels}
	}
	out := []admin.Metric{
		seconds("on_core", "Time the shard workers ran.", total.OnCoreMs),
		seconds("gave_way", "Time the shard workers were off their cores because they had nothing to do and let others run.", total.GaveMs),
	}
	for _, whom := range interference.Whom {
		out = append(out, seconds("preempted", "Time the shard workers were ready and kept off their cores, by whom.", total.By[whom].Ms,
			admin.Label{Name: "by", Value: whom}))
	}
	return append(out,
		admin.Metric{Name: "healkv_worker_wakes_total", Help: "Wake-ups of the shard workers.", Kind: "counter", Value: float64(total.Wakes)},
		admin.Metric{Name: "healkv_worker_wake_p99_seconds", Help: "Of a hundred wake-ups one took at least so long, since the start.", Kind: "gauge", Value: total.WakeP99Us / 1e6})
}
