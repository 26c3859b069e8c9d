package dataplane

// Operations whose key is damaged here wait until the record has come from a
// member or is known to be nowhere, each until its deadline (docs/decisions/0026).

// parkedMax bounds them; beyond it they are refused at once.
const parkedMax = 4096

// parked is an operation that waits for the repair of its key.
type parked struct {
	op   *Op
	lane *lane
}

// Mended lets the operations that wait look again. Any goroutine.
func (w *Worker) Mended() {
	w.mended.Store(true)
	w.ep.Wake()
}

// park lets an operation wait for the repair of its key, if one is under way.
func (w *Worker) park(op *Op, l *lane) {
	if len(w.parked) >= parkedMax || !w.st.Mending(op.hash) {
		w.Counters.Hurt++
		w.end(op, l, ErrDamaged)
		return
	}
	w.parked = append(w.parked, parked{op, l})
}

// behind says whether an earlier operation of the session on the key waits: then
// this one does too, so that they take effect in order.
func (w *Worker) behind(op *Op, l *lane) bool {
	for i := range w.parked {
		if x := &w.parked[i]; x.lane == l && x.op.hash == op.hash && op.Kind != OpPersist {
			return true
		}
	}
	return false
}

// unpark starts operations again in order. What still waits is parked again, or
// stays because there is no space now.
func (w *Worker) unpark() (moved bool) {
	if !w.mended.Swap(false) {
		return false
	}
	list := w.parked
	w.parked = w.spare[:0]
	for i, x := range list {
		if !w.start(x.op, x.lane) {
			w.parked = append(w.parked, list[i:]...)
			w.mended.Store(true)
			break
		}
		moved = true
	}
	clear(list)
	w.spare = list
	return moved
}

// expireParked answers those whose deadline has passed: certainly not applied.
func (w *Worker) expireParked() {
	kept := w.parked[:0]
	for _, x := range w.parked {
		if x.op.due == 0 || x.op.due > w.now {
			kept = append(kept, x)
			continue
		}
		w.Counters.Hurt++
		w.end(x.op, x.lane, ErrDamaged)
	}
	clear(w.parked[len(kept):])
	w.parked = kept
}

// dismiss answers them all: the life ends.
func (w *Worker) dismiss() {
	for _, x := range w.parked {
		w.end(x.op, x.lane, ErrTryAgain)
	}
	clear(w.parked)
	w.parked = w.parked[:0]
}
