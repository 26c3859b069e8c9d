package store

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"healkv/dataplane/plant"
	"healkv/pmem/record"
)

// concurrent runs readers, a manifest and a digest against a worker that
// writes, grows the index, locks and unlocks, and cleans. Timestamps only grow,
// so no reader may see one go back, nor a value that was not written with it.
func concurrent(t *testing.T, writes, keys, segments, segmentBytes int) {
	const hot, readers = 20, 3
	m := makeStore(t, segments, segmentBytes, 20000)
	model := make(map[int]known)
	w := rand.New(rand.NewPCG(1, 9))
	var stop atomic.Bool
	var pin atomic.Uint64
	pin.Store(^uint64(0))
	var reads, manifests, digests, locked atomic.Int64
	var wait sync.WaitGroup
	fail := make(chan error, readers+2)
	for g := range readers {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 10))
			rd := m.NewReader()
			defer rd.Close()
			last := make([]uint64, keys)
			var dst []byte
			for !stop.Load() {
				n := r.IntN(keys)
				if r.IntN(2) == 0 {
					n = r.IntN(hot)
				}
				key := keyOf(n)
				value, ts, st := rd.Get(m.Hash(key), key, dst[:0])
				dst = value
				reads.Add(1)
				switch {
				case st == Shut:
					return
				case ts < last[n] || st == Damaged:
					fail <- fmt.Errorf("key %d: %v, timestamp %d after %d", n, st, ts, last[n])
					return
				case st == Found:
					if err := checkValue(value, n, ts); err != nil {
						fail <- err
						return
					}
				case st == Locked:
					locked.Add(1)
				}
				last[n] = ts
			}
		})
	}
	// A recovering node's requests, pinned as the protocol pins them: the
	// worker takes note of the pin before the manifest begins.
	ask, begun, digest := make(chan struct{}, 1), make(chan [2]uint64, 1), make(chan struct{}, 1)
	wait.Go(func() {
		for !stop.Load() {
			ask <- struct{}{}
			span, ok := <-begun
			if !ok {
				return
			}
			full := span[0] == 0
			if err := m.Manifest(span[0], span[1], full, func(pos uint64, off int64, n int, inc uint32, _ bool) bool {
				var h record.Header
				for n > 0 {
					img := m.arena[off : off+int64(n)]
					if err := record.VerifyHeader(img, record.Seed(pos, inc), &h); err != nil || record.VerifyBody(img, &h) != nil {
						fail <- fmt.Errorf("manifest at %d: %v", pos, err)
						return false
					}
					b := h.Bytes()
					pos, off, n = pos+uint64(b), off+int64(b), n-b
				}
				return true
			}); err != nil {
				fail <- err
				return
			}
			pin.Store(^uint64(0))
			manifests.Add(1)
		}
	})
	wait.Go(func() {
		rd := m.NewReader()
		defer rd.Close()
		for range digest {
			if err := m.ForEach(rd, func(_ uint64, _ bool, img []byte) bool {
				if record.KindOf(img) == record.Put {
					v := record.Value(img)
					if err := checkValue(v, int(binary.LittleEndian.Uint64(v)), record.TS(img)); err != nil {
						fail <- err
						return false
					}
				}
				return !stop.Load()
			}); err != nil {
				fail <- err
				return
			}
			digests.Add(1)
		}
	})

	moved, freed := 0, 0
	var fails error
	for i := range writes {
		n := w.IntN(min(keys, 200+i))
		if w.IntN(3) == 0 {
			n = w.IntN(hot)
		}
		for since := time.Now(); !m.Fits(300); {
			m.SetFlushed(m.Tail())
			res := m.Clean(1<<14, Upto(min(pin.Load(), m.Tail())), m.Flushed())
			moved, freed = moved+res.MovedRecords, freed+res.FreedSegments
			runtime.Gosched()                    // readers must leave
			if time.Since(since) > time.Minute { // a reader's processor may be away for a second
				select {
				case err := <-fail:
					t.Fatal(err)
				default:
					c := &m.clean
					t.Fatalf("no room: %+v, pin %d, tail %d, free %d; %d segments wait, %d of them released, the next for epoch %d and %d; victim %d, debt %d",
						res, pin.Load(), m.Tail(), m.FreeBytes(), c.waiting, c.released, c.queue[min(c.released, waitingMax-1)].epoch, c.queue[min(c.released, waitingMax-1)].tail, c.victim, c.debt)
				}
			}
		}
		pos := m.put(w, model, n, 16+w.IntN(150), w.IntN(20) == 0)
		if w.IntN(8) == 0 {
			hash := m.Hash(keyOf(n))
			m.Lock(hash, pos)
			if w.IntN(8) == 0 {
				runtime.Gosched() // costs a time slice of every reader
			}
			m.Unlock(hash, pos)
		}
		if i%1024 == 0 {
			select {
			case digest <- struct{}{}:
			default:
			}
		}
		if i%16 == 0 {
			m.SetFlushed(m.Tail())
			res := m.Clean(1<<12, Upto(min(pin.Load(), m.Tail())), m.Flushed())
			moved, freed = moved+res.MovedRecords, freed+res.FreedSegments
			select {
			case <-ask:
				from := uint64(0)
				if w.IntN(2) == 0 {
					from = m.log.Segments()[len(m.log.Segments())/2].Start
				}
				pin.Store(from)
				begun <- [2]uint64{from, m.Tail()}
			case fails = <-fail:
				stop.Store(true)
			default:
			}
			if stop.Load() {
				break
			}
		}
	}
	// Two cores are shared: everybody has to have had a turn.
	for fails == nil && (manifests.Load() == 0 || digests.Load() == 0 || reads.Load() < 1000) {
		select {
		case <-ask:
			pin.Store(0)
			begun <- [2]uint64{0, m.Tail()}
		case fails = <-fail:
		default:
			runtime.Gosched()
		}
	}
	stop.Store(true)
	close(begun)
	close(digest)
	wait.Wait()
	select {
	case fails = <-fail:
	default:
	}
	if fails != nil {
		t.Fatal(fails)
	}
	if err := m.compare(model); err != nil {
		t.Fatal(err)
	}
	if moved == 0 || freed == 0 {
		t.Fatalf("the cleaner did nothing: %d moved, %d freed", moved, freed)
	}
	t.Logf("%d writes, %d reads (%d locked), %d manifests, %d digests, %d records moved, %d segments freed",
		writes, reads.Load(), locked.Load(), manifests.Load(), digests.Load(), moved, freed)
}

func TestConcurrent(t *testing.T) {
	writes := 30_000
	if testing.Short() {
		writes = 8_000
	}
	concurrent(t, writes, 1500, 32, 1<<14)
}

// The body of the subprocess of TestPlantedRaceIsFound: short, and a failure
// other than a race report must not look like one.
func TestPlantedRace(t *testing.T) {
	if !planted {
		t.Log("runs in the plant build only")
		return
	}
	concurrent(t, 1_500, 60, 8, 1<<13)
}

// The race detector sees a reader's announcement and the log's tail when they
// are plain stores; so it would see one lost by accident.
func TestPlantedRaceIsFound(t *testing.T) {
	if planted {
		return
	}
	if testing.Short() {
		t.Log("left out: builds a race binary, seconds of work; runs without -short")
		return
	}
	cmd := exec.Command("go", "test", "-race", "-tags", "plant", "-run", "^TestPlantedRace$", "-count=1", ".")
	cmd.Env = append(cmd.Environ(), "HEALKV_PLANT="+string(plant.RaceAnnounce)+","+string(plant.RaceLogTail))
	out, err := cmd.CombinedOutput()
	text := string(out)
	if err == nil || !strings.Contains(text, "WARNING: DATA RACE") {
		t.Fatalf("planted plain stores were not reported: %v\n%s", err, tail(text))
	}
	for _, where := range []string{"store.announce", "seglog.publish"} {
		if !strings.Contains(text, where) {
			t.Errorf("no report names %s\n%s", where, tail(text))
		}
	}
	t.Logf("%d reports", strings.Count(text, "WARNING: DATA RACE"))
}

func tail(s string) string { return s[max(0, len(s)-4000):] }
