//go:build plant

package dataplane

import (
	"bytes"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"healkv/dataplane/proto"
	"healkv/pmem/store"
)

// planted: this build can misbehave on purpose. HEALKV_TEST_PLANT names how:
//
//	lost-write@N     node N answers some writes "done" and drops them
//	stale-replica@N  node N acknowledges some INVs without applying them
//	stale-read@N     node N answers some reads of watched keys with an old value
const planted = true

var plant struct {
	kind string
	node int

	mu   sync.Mutex
	left int
	old  map[string]oldValue
}

type oldValue struct {
	value []byte
	ts    proto.TS
	at    time.Time
}

func init() {
	kind, node, ok := strings.Cut(os.Getenv("HEALKV_TEST_PLANT"), "@")
	n, err := strconv.Atoi(node)
	if ok && err == nil {
		plant.kind, plant.node, plant.left, plant.old = kind, n, 30, map[string]oldValue{}
	}
}

// armed: not while the records are being loaded.
func armed(w *Worker, kind string) bool {
	return plant.kind == kind && int(w.rep.Self().Node) == plant.node && w.rep.Counters.Writes > 4000
}

func plantLostWrite(w *Worker, op *Op) bool {
	if !armed(w, "lost-write") || op.Kind != OpPut || bytes.HasPrefix(op.Key, []byte("w:")) || plant.left == 0 {
		return false
	}
	plant.left--
	var e store.Entry
	w.st.Find(&e, op.hash, op.Key)
	op.TS, _ = proto.TS(e.TS).Next(w.rep.View().Epoch, w.rep.Self().Node)
	return true
}

func plantReplica(w *Worker) {
	if armed(w, "stale-replica") && plant.left > 0 {
		w.rep.PlantSkip += plant.left
		plant.left = 0
	}
}

// plantStaleRead remembers what was read and gives it back half a second
// later.
func plantStaleRead(key, value []byte, node int, ts proto.TS) ([]byte, proto.TS) {
	if plant.kind != "stale-read" || node != plant.node || !bytes.HasPrefix(key, []byte("w:")) {
		return value, ts
	}
	plant.mu.Lock()
	defer plant.mu.Unlock()
	o, ok := plant.old[string(key)]
	if !ok || time.Since(o.at) > 2*time.Second {
		plant.old[string(key)] = oldValue{bytes.Clone(value), ts, time.Now()}
		return value, ts
	}
	if time.Since(o.at) > 500*time.Millisecond && o.ts != ts && plant.left > 0 {
		plant.left--
		return append(value[:0], o.value...), o.ts
	}
	return value, ts
}
