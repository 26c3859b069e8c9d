package dataplane

import "healkv/dataplane/plant"

// growEvery is how often a file system without room for the index is asked.
const growEvery = int64(50e6) // ns

// grow tries to have the index grow again. New keys are refused meanwhile, as
// far as they would not fit, and what comes to be refused makes the turns in
// which this is tried.
func (w *Worker) grow(why error) {
	if w.now-w.lastGrow < growEvery || plant.Is(plant.IndexGrowNever) {
		return
	}
	w.lastGrow = w.now
	if !w.starved {
		w.starved = true
		w.Counters.IndexStarved++
		w.log.Error("the index cannot grow: new keys are refused until its file system has room again", "shard", w.shard, "err", why)
	}
	if w.st.Index().Grow() == nil {
		w.starved = false
		w.log.Info("the index grows again", "shard", w.shard)
	}
}
