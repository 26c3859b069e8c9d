package dataplane

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

func envInt(name string, n int) int {
	if x, err := strconv.Atoi(os.Getenv(name)); err == nil {
		return x
	}
	return n
}

func TestNearStamps(t *testing.T) {
	r := newRig(t, rigOptions{nodes: 2, spin: 1 << 30, poolBytes: 192 << 20, ringBytes: envInt("RING", 4<<20), maxKeys: [3]uint64{1 << 20, 1 << 20, 1 << 20}})
	lease := new(clockLease)
	lease.until.Store(Now() + int64(3600e9))
	for _, n := range r.nodes {
		n.core.lease = lease
		for _, w := range n.workers {
			w.Do(func() { w.lease = lease; w.yield = 64 })
		}
	}
	one, other := r.nodes[0].workers[0], r.nodes[1].workers[0]
	_, _ = one, other
	s := r.nodes[0].host.NewSession()
	op, key, value := Op{Deadline: Now() + int64(3600e9)}, make([]byte, 16), make([]byte, envInt("VALUE", 158))
	var done [1]*Op
	n := uint64(0)
	total := uint64(400_000)
	if os.Getenv("MANY") != "" {
		total = 3_000_000
	}
	envInt2 := envInt("KEYS", 10000)
	var lat []uint64
	begun := uint64(0)
	fin := make(chan struct{})
	turn := func() bool {
		if n > total {
			return false
		}
		if n > 0 {
			if s.Poll(done[:]) == 0 {
				return false
			}
			if op.Err != nil {
				panic(op.Err)
			}
			now := uint64(Now())
			lat = append(lat, now-begun)
			if n == total {
				n++
				close(fin)
				return false
			}
		}
		n++
		kk := uint64(envInt2)
		binary.LittleEndian.PutUint64(key, n*0x9E3779B97F4A7C15%kk)
		op.Kind, op.Key, op.Value = OpPut, key, value
		begun = uint64(Now())
		if err := s.Submit(&op); err != nil {
			panic(err)
		}
		s.Kick()
		return true
	}
	lat = make([]uint64, 0, total)
	leave := r.nodes[0].host.Attend(0, turn)
	select {
	case <-fin:
	case <-time.After(20 * time.Second):
		t.Fatal("stuck", n)
	}
	leave()
	const ghz = 1
	l := slices.Clone(lat[100_000:])
	slices.Sort(l)
	fmt.Printf("median %.0f p10 %.0f p90 %.0f ns\n", float64(l[len(l)/2])/ghz, float64(l[len(l)/10])/ghz, float64(l[len(l)*9/10])/ghz)
}
