package workload

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
)

func mustNew(t testing.TB, name string, o Options) *Spec {
	t.Helper()
	s, err := New(name, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// chiSquare compares counts with expected shares; it fails beyond mean + 5
// standard deviations of the chi-square distribution, so a right generator
// fails about once in a million seeds, and the seeds are fixed.
func chiSquare(t *testing.T, what string, counts []uint64, shares []float64) {
	t.Helper()
	total := uint64(0)
	for _, c := range counts {
		total += c
	}
	chi, cells := 0.0, 0
	for i, share := range shares {
		want := share * float64(total)
		if share == 0 {
			if counts[i] != 0 {
				t.Errorf("%s: outcome %d has weight 0 and came %d times", what, i, counts[i])
			}
			continue
		}
		d := float64(counts[i]) - want
		chi += d * d / want
		cells++
	}
	dof := float64(cells - 1)
	if bound := dof + 5*math.Sqrt(2*dof) + 5; chi > bound {
		t.Errorf("%s: chi-square %.1f over %.0f degrees of freedom, bound %.1f (%d draws)", what, chi, dof, bound, total)
	}
	t.Logf("%s: chi-square %.1f, %.0f degrees of freedom, %d draws", what, chi, dof, total)
}

func TestDiscreteFollowsWeights(t *testing.T) {
	weights := []float64{0, 1, 2, 30, 0, 67}
	d, err := newDiscrete(nil, weights)
	if err != nil {
		t.Fatal(err)
	}
	r := newRandom(1, 2)
	counts := make([]uint64, len(weights))
	for range 200_000 {
		counts[d.draw(&r)]++
	}
	shares := make([]float64, len(weights))
	for i, w := range weights {
		shares[i] = w / 100
		if got := d.share(i); math.Abs(got-shares[i]) > 1e-9 {
			t.Errorf("share of %d is %v, want %v", i, got, shares[i])
		}
	}
	chiSquare(t, "alias tables", counts, shares)
	if got, want := d.mean(), (1+2*2+3*30+5*67)/100.0; math.Abs(got-want) > 1e-6 {
		t.Errorf("mean %v, want %v", got, want)
	}
	for _, bad := range [][]float64{nil, {0, 0}, {1, -1}, {math.NaN()}, {math.Inf(1)}} {
		if _, err := newDiscrete(nil, bad); !errors.Is(err, errWeights) {
			t.Errorf("weights %v: %v", bad, err)
		}
	}
}

func TestMixIsABijection(t *testing.T) {
	a, b := mixA, mixB
	if a*unmixA != 1 || b*unmixB != 1 {
		t.Fatal("the constants are not inverses")
	}
	r := newRandom(3, 3)
	for range 100_000 {
		x := r.pcg.Uint64()
		if unmix64(mix64(x)) != x {
			t.Fatalf("unmix64(mix64(%#x)) = %#x", x, unmix64(mix64(x)))
		}
	}
}

// TestTAOShares asserts the figures that are quoted: A writes about 12 % of the
// flattened accesses, O about 0.2 %, read-only none, computed from the files and
// drawn.
func TestTAOShares(t *testing.T) {
	for _, c := range []struct {
		name           string
		writes, within float64
		requestWrites  float64
		accesses       float64
		draws          int
	}{
		// By hand from the files: A (57+5.2979)/(171+57+15·19.1814+1·5.2979), O (19+5.2979)/13053.19.
		{"taobench-a", 0.11957, 0.00001, 58.0 / 244, 521.018 / 244, 4_000_000},
		{"taobench-o", 0.0018615, 0.0000001, 20.0 / 8649, 13053.186 / 8649, 4_000_000},
		{"taobench-ro", 0, 0, 0, 1, 200_000},
	} {
		s := mustNew(t, c.name, Options{Keys: 500_000})
		if math.Abs(s.WriteShare()-c.writes) > c.within {
			t.Errorf("%s: write share %v, want %v", c.name, s.WriteShare(), c.writes)
		}
		if math.Abs(s.RequestAccesses()-c.accesses) > 0.001 {
			t.Errorf("%s: %v accesses a request, want %v", c.name, s.RequestAccesses(), c.accesses)
		}
		g := s.NewGenerator(7, 0, 6)
		var writes, requests, writeRequests int
		for range c.draws {
			a := g.Next()
			if a.Kind != Read {
				writes++
			}
			if a.First {
				requests++
				if a.Kind != Read {
					writeRequests++
				}
			}
		}
		got := float64(writes) / float64(c.draws)
		// Transactions come in one piece, so the spread is wider than binomial.
		if math.Abs(got-c.writes) > 0.02*c.writes+6*math.Sqrt(c.writes/float64(c.draws)) {
			t.Errorf("%s: drew %.5f writes an access, want %.5f", c.name, got, c.writes)
		}
		gotReq := float64(writeRequests) / float64(requests)
		if math.Abs(gotReq-c.requestWrites) > 0.03*c.requestWrites+5*math.Sqrt(c.requestWrites/float64(requests)) {
			t.Errorf("%s: drew %.5f write requests a request, want %.5f", c.name, gotReq, c.requestWrites)
		}
		t.Logf("%s: %d keys, %d accesses in %d requests: %.4f %% writes (of requests %.4f %%)", c.name, s.Keys(), c.draws, requests, 100*got, 100*gotReq)
	}
}

func TestTAOPlacement(t *testing.T) {
	s := mustNew(t, "taobench-a", Options{Keys: 20_000})
	m := &s.tao
	if m.shardCount != 50 || s.Keys() != 20_000 || m.perShard != 200 {
		t.Fatalf("%d shards, %d keys, %d a shard and kind", m.shardCount, s.Keys(), m.perShard)
	}
	g := s.NewGenerator(11, 0, 1)
	shards := make([]uint64, m.shardCount)
	inside := make([]uint64, m.perShard) // of shard 0
	kinds := [2][2]uint64{}              // [write][edge]
	const draws = 3_000_000
	for range draws {
		a := g.Next()
		if a.Key >= s.Keys() {
			t.Fatalf("key %d of %d", a.Key, s.Keys())
		}
		pair := a.Key >> 1
		shard := pair % m.shardCount
		shards[shard]++
		if shard == 0 {
			inside[pair/m.shardCount]++
		}
		w := 0
		if a.Kind == Write {
			w = 1
		}
		kinds[w][a.Key&1]++
	}
	shares := make([]float64, m.shardCount)
	for i := range shares {
		shares[i] = m.shards.share(i)
	}
	if share := 94036.0 / 166_082; math.Abs(shares[0]-share) > 0.02 || shares[0] < 10*shares[2] {
		t.Errorf("shard 0 has share %v", shares[0])
	}
	chiSquare(t, "shards", shards, shares)
	uniform := make([]float64, m.perShard)
	for i := range uniform {
		uniform[i] = 1 / float64(m.perShard)
	}
	chiSquare(t, "keys inside shard 0", inside, uniform)
	// Writes: (111+214) objects of 715, in writes and write transactions alike.
	chiSquare(t, "kinds of writes", kinds[1][:], []float64{325.0 / 715, 390.0 / 715})
	t.Logf("reads: %d objects, %d edges", kinds[0][0], kinds[0][1])
}

func TestKeysComeBack(t *testing.T) {
	total := 0
	for _, name := range Names() {
		s := mustNew(t, name, Options{Keys: 30_000})
		seen := make(map[string]uint64, s.Capacity())
		var buf []byte
		for id := range s.Capacity() {
			buf = s.AppendKey(buf[:0], id)
			if len(buf) > KeyBytesMax {
				t.Fatalf("%s: key %q is %d bytes", name, buf, len(buf))
			}
			if other, ok := seen[string(buf)]; ok {
				t.Fatalf("%s: ids %d and %d have the key %q", name, other, id, buf)
			}
			seen[string(buf)] = id
			if got, ok := s.KeyID(buf); !ok || got != id {
				t.Fatalf("%s: key %q of id %d came back as %d, %v", name, buf, id, got, ok)
			}
			total++
		}
		beyond := s.AppendKey(nil, s.Capacity())
		for _, bad := range []string{"", "o:", "o:x", "o:01", "o:1x", "e:1", "e:1:2:9", "user1", "user00000000000000000001", "x:1", "o:99999999999999999999999", string(beyond)} {
			if id, ok := s.KeyID([]byte(bad)); ok {
				t.Errorf("%s: %q is taken for id %d", name, bad, id)
			}
		}
	}
	s := mustNew(t, "taobench-a", Options{Keys: 30_000})
	for id, prefix := range []string{"o:", "e:"} {
		key := string(s.AppendKey(nil, uint64(id)))
		if !strings.HasPrefix(key, prefix) || strings.Count(key, ":") != [...]int{1, 3}[id] {
			t.Errorf("key %d is %q", id, key)
		}
	}
	t.Logf("%d keys of %d workloads came back; for example %q and %q", total, len(Names()), s.AppendKey(nil, 54320), s.AppendKey(nil, 54321))
}

func TestSequencesAreDeterministic(t *testing.T) {
	for _, name := range Names() {
		s := mustNew(t, name, Options{Keys: 20_000})
		a, b, c, d := s.NewGenerator(5, 1, 6), s.NewGenerator(5, 1, 6), s.NewGenerator(5, 2, 6), s.NewGenerator(6, 1, 6)
		sameC, sameD := 0, 0
		const draws = 20_000
		for i := range draws {
			x := a.Next()
			if y := b.Next(); x != y {
				t.Fatalf("%s: access %d is %v and %v", name, i, x, y)
			}
			if x.Key >= s.Capacity() {
				t.Fatalf("%s: key %d of %d", name, x.Key, s.Capacity())
			}
			if x == c.Next() {
				sameC++
			}
			if x == d.Next() {
				sameD++
			}
		}
		if sameC > draws/10 || sameD > draws/10 {
			t.Errorf("%s: another lane agrees %d times, another seed %d times, of %d", name, sameC, sameD, draws)
		}
	}
}

func TestYCSBMixes(t *testing.T) {
	for _, c := range []struct {
		name                string
		read, write, insert float64 // of accesses
		requests            float64
	}{
		{"ycsb-a", 0.5, 0.5, 0, 1},
		{"ycsb-b", 0.95, 0.05, 0, 1},
		{"ycsb-c", 1, 0, 0, 1},
		{"ycsb-d", 0.95, 0, 0.05, 1},
		{"ycsb-f", 2.0 / 3, 1.0 / 3, 0, 2.0 / 3},
	} {
		s := mustNew(t, c.name, Options{Keys: 10_000})
		g := s.NewGenerator(1, 0, 1)
		var kinds [3]uint64
		var first uint64
		var before Access
		const draws = 300_000
		for range draws {
			a := g.Next()
			kinds[a.Kind]++
			if a.First {
				first++
			} else if before.Kind != Read || before.Key != a.Key || a.Kind != Write {
				t.Fatalf("%s: %v follows %v", c.name, a, before)
			}
			before = a
		}
		chiSquare(t, c.name, kinds[:], []float64{c.read, c.write, c.insert})
		if got := float64(first) / draws; math.Abs(got-c.requests) > 0.01 {
			t.Errorf("%s: %v requests an access, want %v", c.name, got, c.requests)
		}
		if got := s.WriteShare(); math.Abs(got-c.write-c.insert) > 1e-12 {
			t.Errorf("%s: WriteShare %v", c.name, got)
		}
	}
	if _, err := New("ycsb-e", Options{Keys: 10_000}); !errors.Is(err, ErrUnknownWorkload) || !strings.Contains(err.Error(), "scans") {
		t.Errorf("ycsb-e: %v", err)
	}
}

func TestYCSBDistributions(t *testing.T) {
	const keys, draws = 5_000, 1_000_000
	count := func(name, dist string) ([]uint64, *Spec) {
		s := mustNew(t, name, Options{Keys: keys, Dist: dist})
		g := s.NewGenerator(9, 0, 1)
		c := make([]uint64, s.Capacity())
		for range draws {
			c[g.Next().Key]++
		}
		return c, s
	}
	uniform, _ := count("ycsb-c", "uniform")
	shares := make([]float64, keys)
	for i := range shares {
		shares[i] = 1.0 / keys
	}
	chiSquare(t, "uniform", uniform, shares)

	// Rank 0 and 1 of the ten billion are drawn 1/zeta and 0.5^0.99/zeta of the time; the keys they hash to have a
	// little more, from the tail.
	zipfian, s := count("ycsb-c", "zipfian")
	for rank, want := range []float64{1 / scrambledZeta, math.Pow(0.5, zipfTheta) / scrambledZeta} {
		got := float64(zipfian[fnv64(uint64(rank))%keys]) / draws
		if got < want || got > want+0.003 {
			t.Errorf("the key of rank %d has %.4f of the accesses, want %.4f and up to 0.003 more", rank, got, want)
		}
	}
	t.Logf("zipfian: the top key has %.2f %%; %s", 100*float64(zipfian[fnv64(0)%keys])/draws, s.About())

	latest, _ := count("ycsb-c", "latest")
	z := newZipf(keys)
	for back, want := range []float64{1 / z.zetan, math.Pow(0.5, zipfTheta) / z.zetan} {
		if got := float64(latest[keys-1-back]) / draws; math.Abs(got-want) > 0.003 {
			t.Errorf("the key %d before the last has %.4f of the accesses, want %.4f", back, got, want)
		}
	}
}

// TestInsertsOfLanes: no two generators insert the same id, none runs out, and a
// generator only reads what was loaded or what it inserted itself.
func TestInsertsOfLanes(t *testing.T) {
	s := mustNew(t, "ycsb-d", Options{Keys: 1_000})
	const lanes = 6
	owner := make([]int, s.Capacity())
	inserts := 0
	for lane := range lanes {
		g := s.NewGenerator(1, lane, lanes)
		mine := map[uint64]bool{}
		for range 20_000 { // 1 000 inserts into room for 83: starts over
			a := g.Next()
			switch {
			case a.Kind == Insert:
				if o := owner[a.Key]; a.Key < s.Keys() || o != 0 && o != lane+1 {
					t.Fatalf("lane %d inserts %d, owner %d", lane, a.Key, o-1)
				}
				owner[a.Key] = lane + 1
				mine[a.Key] = true
				inserts++
			case a.Key >= s.Keys() && !mine[a.Key]:
				t.Fatalf("lane %d reads %d, which it did not insert", lane, a.Key)
			}
		}
	}
	t.Logf("%d inserts of %d lanes", inserts, lanes)
}

func TestZipfGrowsLikeNew(t *testing.T) {
	a, b := newZipf(1000), newZipf(1500)
	for range 500 {
		a.grow()
	}
	if a.n != b.n || math.Abs(a.zetan-b.zetan) > 1e-9 || math.Abs(a.eta-b.eta) > 1e-9 {
		t.Errorf("grown %+v, new %+v", a, b)
	}
}

func TestOverwriteTouchesItsShareOnly(t *testing.T) {
	s := mustNew(t, "overwrite", Options{Keys: 100_000})
	g := s.NewGenerator(1, 0, 1)
	seen := map[uint64]bool{}
	for range 100_000 {
		a := g.Next()
		if a.Kind != Write || !a.First || a.Key >= s.Keys() {
			t.Fatalf("%+v", a)
		}
		seen[a.Key] = true
	}
	if len(seen) != 1000 {
		t.Errorf("%d distinct keys, want 1000", len(seen))
	}
	if _, err := New("overwrite", Options{Keys: 100_000, HotShare: 2}); !errors.Is(err, ErrKeys) {
		t.Errorf("share 2: %v", err)
	}
}

func TestValues(t *testing.T) {
	for _, size := range []int{8, 9, 158, 1000, 5000, 100_000} {
		s := mustNew(t, "ycsb-a", Options{Keys: 1000, ValueBytes: size})
		a, b := s.AppendValue(nil, 1, 77), s.AppendValue(nil, 1, 78)
		if len(a) != size || len(b) != size || bytes.Equal(a, b) {
			t.Errorf("sizes %d and %d, want %d, equal %v", len(a), len(b), size, bytes.Equal(a, b))
		}
		if stamp, ok := Stamp(a); !ok || stamp != 77 {
			t.Errorf("stamp %d, %v", stamp, ok)
		}
	}
	if _, ok := Stamp([]byte("short")); ok {
		t.Error("a stamp in five bytes")
	}
	if got := mustNew(t, "taobench-a", Options{Keys: 1000}).ValueBytes(); got != 158 {
		t.Errorf("a TAOBench value is %d bytes", got)
	}
	for _, bad := range []int{7, 1<<20 + 1, -1} {
		if _, err := New("ycsb-a", Options{Keys: 1000, ValueBytes: bad}); !errors.Is(err, ErrValueBytes) {
			t.Errorf("value size %d: %v", bad, err)
		}
	}
}

func TestBadNames(t *testing.T) {
	for _, name := range []string{"", "taobench-", "taobench-b", "ycsb-", "ycsb-z", "write", "ycsb"} {
		if _, err := New(name, Options{Keys: 1000}); !errors.Is(err, ErrUnknownWorkload) {
			t.Errorf("%q: %v", name, err)
		}
	}
	if _, err := New("ycsb-a", Options{Keys: 1000, Dist: "normal"}); !errors.Is(err, ErrUnknownWorkload) {
		t.Errorf("distribution: %v", err)
	}
	if _, err := New("taobench-a", Options{Keys: 1000, Dist: "uniform"}); !errors.Is(err, ErrUnknownWorkload) {
		t.Errorf("distribution of TAOBench: %v", err)
	}
	if _, err := New("taobench-a", Options{Keys: 10}); !errors.Is(err, ErrKeys) {
		t.Errorf("keys: %v", err)
	}
}

func TestParseTAORejects(t *testing.T) {
	good, err := data.ReadFile("data/workload_a.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(string) string{
		"missing distribution": func(s string) string { return strings.Replace(s, `"primary_shards"`, `"elsewhere"`, 1) },
		"broken line":          func(s string) string { return strings.Replace(s, `10, 380`, `10 380`, 1) },
		"weighted delete":      func(s string) string { return strings.Replace(s, `214, 0`, `214, 3`, 1) },
		"three operations":     func(s string) string { return strings.Replace(s, `[171,57,15,1]`, `[171,57,15]`, 1) },
		"text as size": func(s string) string {
			return strings.Replace(s, `"read_txn_sizes", "values": [1,`, `"read_txn_sizes", "values": ["x",`, 1)
		},
	} {
		text := change(string(good))
		if text == string(good) {
			t.Fatalf("%s: nothing changed", name)
		}
		if _, err := parseTAO([]byte(text)); !errors.Is(err, errTAOData) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNoAllocation(t *testing.T) {
	for _, name := range Names() {
		s := mustNew(t, name, Options{Keys: 10_000})
		g := s.NewGenerator(1, 0, 6)
		key, value := make([]byte, 0, KeyBytesMax), make([]byte, 0, s.ValueBytes())
		stamp := uint64(0)
		if n := testing.AllocsPerRun(5_000, func() {
			a := g.Next()
			key = s.AppendKey(key[:0], a.Key)
			stamp++
			value = s.AppendValue(value[:0], a.Key, stamp)
			if id, ok := s.KeyID(key); !ok || id != a.Key {
				t.Fatal("key did not come back")
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations an access", name, n)
		}
	}
}

func BenchmarkNext(b *testing.B) {
	for _, name := range []string{"taobench-ro", "taobench-a", "taobench-o", "ycsb-a", "ycsb-d", "write-only"} {
		b.Run(name, func(b *testing.B) {
			s := mustNew(b, name, Options{Keys: 500_000})
			g := s.NewGenerator(1, 0, 6)
			key := make([]byte, 0, KeyBytesMax)
			b.ReportAllocs()
			for b.Loop() {
				key = s.AppendKey(key[:0], g.Next().Key)
			}
		})
	}
}

func BenchmarkValue(b *testing.B) {
	s := mustNew(b, "taobench-a", Options{Keys: 500_000})
	value := make([]byte, 0, s.ValueBytes())
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		value = s.AppendValue(value[:0], i, i)
	}
}
