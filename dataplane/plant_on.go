//go:build plant

package dataplane

import (
	"bytes"
	"sync"
	"time"

	"healkv/dataplane/plant"
	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// planted: this build can misbehave on purpose (package plant). Of one node:
//
//	lost-write@N     node N answers some writes "done" and drops them
//	stale-replica@N  node N acknowledges some INVs without applying them
//	stale-read@N     node N answers some reads of watched keys with an old value
const planted = true

// misdeeds is what is left to do of them.
var misdeeds = struct {
	mu   sync.Mutex
	left int
	puts uint64
	old  map[string]oldValue
}{left: 30, old: map[string]oldValue{}}

type oldValue struct {
	value []byte
	ts    proto.TS
	at    time.Time
}

// armed: not while the records are being loaded.
func armed(w *Worker, b plant.Bug) bool {
	return plant.At(b, int(w.rep.Self().Node)) && w.rep.Counters.Writes > 4000
}

func plantLostWrite(w *Worker, op *Op) bool {
	if !armed(w, plant.LostWrite) || op.Kind != OpPut || bytes.HasPrefix(op.Key, []byte("w:")) {
		return false
	}
	// The first ones are overwritten soon: later ones are lost now and then, to the end.
	if misdeeds.puts++; misdeeds.left > 0 {
		misdeeds.left--
	} else if misdeeds.puts%512 != 0 {
		return false
	}
	var e store.Entry
	w.st.Find(&e, op.hash, op.Key)
	op.TS, _ = proto.TS(e.TS).Next(w.rep.View().Epoch, w.rep.Self().Node)
	return true
}

func plantReplica(w *Worker) {
	if armed(w, plant.StaleReplica) && misdeeds.left > 0 {
		w.rep.PlantSkip += misdeeds.left
		misdeeds.left = 0
	}
}

// plantStaleRead remembers what was read and gives it back half a second
// later.
func plantStaleRead(key, value []byte, node int, ts proto.TS) ([]byte, proto.TS) {
	if !plant.At(plant.StaleRead, node) || !bytes.HasPrefix(key, []byte("w:")) {
		return value, ts
	}
	misdeeds.mu.Lock()
	defer misdeeds.mu.Unlock()
	o, ok := misdeeds.old[string(key)]
	if !ok || time.Since(o.at) > 2*time.Second {
		misdeeds.old[string(key)] = oldValue{bytes.Clone(value), ts, time.Now()}
		return value, ts
	}
	if time.Since(o.at) > 500*time.Millisecond && o.ts != ts && misdeeds.left > 0 {
		misdeeds.left--
		return append(value[:0], o.value...), o.ts
	}
	return value, ts
}
