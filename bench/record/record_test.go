package record

import (
	"errors"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
	"healkv/bench/check"
)

func TestCellsAreHdrHistograms(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	lib := hdrhistogram.New(LowestMicros, HighestMicros, Digits)
	if n := len(lib.Export().Counts); n != histCells {
		t.Fatalf("the library has %d cells, we have %d", n, histCells)
	}
	values := []uint64{1, 2, 1023, 1024, 2047, 2048, 2049, 4095, 4096, HighestMicros - 1, HighestMicros}
	for range 2_000 {
		values = append(values, 1+rng.Uint64N(HighestMicros>>rng.UintN(26)))
	}
	for _, v := range values {
		lib.Reset()
		if err := lib.RecordValue(int64(v)); err != nil {
			t.Fatal(err)
		}
		if lib.Export().Counts[cellOf(v)] != 1 {
			t.Fatalf("value %d is not in cell %d of the library", v, cellOf(v))
		}
		// Max of the library is the highest equivalent value.
		if got := cellTop(cellOf(v)); got != uint64(lib.Max()) || got < v {
			t.Fatalf("cell of %d tops at %d, in the library at %d", v, got, lib.Max())
		}
	}
}

func TestHistAgainstLibrary(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var h Hist
	var m, all Merged
	lib, libAll := hdrhistogram.New(LowestMicros, HighestMicros, Digits), hdrhistogram.New(LowestMicros, HighestMicros, Digits)
	for round := range 60 {
		h.Reset()
		lib.Reset()
		m.Reset()
		for range 1 + rng.IntN(3000) {
			ns := int64(rng.ExpFloat64() * float64(int64(100)<<rng.UintN(uint(1+round/2))))
			h.Record(ns)
			v := int64(Micros(ns))
			if lib.RecordValue(v) != nil || libAll.RecordValue(v) != nil {
				t.Fatalf("library refuses %d", v)
			}
		}
		sparse := h.appendSparse(nil)
		l := h.Latency()
		if err := errors.Join(m.Add(sparse, l.Max), all.Add(sparse, l.Max)); err != nil {
			t.Fatal(err)
		}
		for _, q := range []struct {
			q   float64
			got uint32
		}{{0.5, l.P50}, {0.99, l.P99}, {0.999, l.P999}} {
			// The library reports the top of the cell; we do not go beyond the exact maximum.
			want := min(uint64(lib.ValueAtQuantile(100*q.q)), h.max)
			if uint64(q.got) != want || m.Quantile(q.q) != want {
				t.Fatalf("round %d, quantile %v: %d and merged %d, the library says %d", round, q.q, q.got, m.Quantile(q.q), want)
			}
		}
		if !m.HDR().Equals(lib) || m.Total() != lib.TotalCount() || h.Total() != uint64(m.Total()) {
			t.Fatalf("round %d: merged histogram differs from the library's", round)
		}
	}
	if !all.HDR().Equals(libAll) {
		t.Fatal("the sum differs from the library's")
	}
	var twice Merged
	twice.AddMerged(&all)
	twice.AddMerged(&all)
	if twice.Total() != 2*all.Total() || twice.Quantile(0.9) != all.Quantile(0.9) || twice.Max() != all.Max() {
		t.Error("AddMerged")
	}
	t.Logf("%d latencies", all.Total())
}

func someWindows(rng *rand.Rand, n int) (ws []Window, hists [][2]*Hist) {
	index := int64(123456)
	for range n {
		var r, w Hist
		for range rng.IntN(400) {
			r.Record(rng.Int64N(1 << (10 + rng.UintN(20))))
		}
		for range rng.IntN(100) {
			w.Record(rng.Int64N(1 << (10 + rng.UintN(25))))
		}
		x := Window{Index: index, Reads: r.Total(), Writes: w.Total(), Requests: rng.Uint64N(500), Backlog: rng.Uint32N(9), FirstWrite: -1, LastWrite: -1}
		if x.Writes > 0 {
			x.FirstWrite, x.LastWrite, x.WriteGap = 17, WindowNanos-1, rng.Int64N(1<<40)
		}
		x.Errors[rng.IntN(ErrorKinds)] = 3
		x.Read, x.Write = r.Latency(), w.Latency()
		x.ReadHist, x.WriteHist = r.appendSparse([]byte{}), w.appendSparse([]byte{})
		ws, hists = append(ws, x), append(hists, [2]*Hist{&r, &w})
		index += 1 + rng.Int64N(3)
	}
	return ws, hists
}

func TestWindowsComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w")
	head := WindowHeader{Node: 3, PID: 77, Workload: "taobench-a", Rate: 1000, Window: 64, Start: 5, StartWall: 6}
	ww, err := CreateWindows(path, head)
	if err != nil {
		t.Fatal(err)
	}
	ws, hists := someWindows(rand.New(rand.NewPCG(3, 3)), 200)
	for i := range ws {
		if err := ww.Append(&ws[i], hists[i][0], hists[i][1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := ww.Close(); err != nil {
		t.Fatal(err)
	}
	f, err := ReadWindows(path)
	if err != nil {
		t.Fatal(err)
	}
	if f.Header != head || f.Torn != 0 || !reflect.DeepEqual(f.Windows, ws) {
		t.Fatalf("header %+v, torn %d, %d windows", f.Header, f.Torn, len(f.Windows))
	}
	if _, err := CreateWindows(path, head); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second life in one file: %v", err)
	}

	// Cut anywhere, what is whole comes back; a flipped bit ends it.
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cuts := 0
	for cut := len(whole) - 1; cut > len(whole)/2; cut -= 997 {
		f, err := decodeWindows(whole[:cut])
		if err != nil || len(f.Windows) >= len(ws) || !reflect.DeepEqual(f.Windows, ws[:len(f.Windows)]) {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		cuts++
	}
	flipped := slices.Clone(whole)
	flipped[len(flipped)/2] ^= 4
	if f, err := decodeWindows(flipped); err != nil || f.Torn == 0 || len(f.Windows) >= len(ws) {
		t.Errorf("flipped bit: %v", err)
	}
	t.Logf("%d windows in %d bytes, %d cuts", len(ws), len(whole), cuts)
}

func TestHistoryComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "h")
	h, err := CreateHistory(path, HistoryHeader{Node: 1, Client: 9, Keys: 8})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(h.Invoke(check.Write, 4, 77, 100))
	must(h.Return(check.Write, check.Done, 4, 77, 110))
	must(h.Invoke(check.Read, 4, 0, 120))
	must(h.Return(check.Read, check.Done, 4, 77, 130))
	must(h.Invoke(check.Write, 5, 78, 140))
	must(h.Return(check.Write, check.Rejected, 5, 78, 150))
	must(h.Invoke(check.Write, 5, 79, 160))
	must(h.Close())
	want := []check.Op{
		{Kind: check.Write, Outcome: check.Done, Key: 4, Client: 9, Value: 77, Invoke: 100, Return: 110},
		{Kind: check.Read, Outcome: check.Done, Key: 4, Client: 9, Value: 77, Invoke: 120, Return: 130},
		{Kind: check.Write, Outcome: check.Rejected, Key: 5, Client: 9, Value: 78, Invoke: 140, Return: 150},
		{Kind: check.Write, Outcome: check.Pending, Key: 5, Client: 9, Value: 79, Invoke: 160},
	}
	f, err := ReadHistory(path)
	if err != nil || !reflect.DeepEqual(f.Ops, want) || f.Torn != 0 {
		t.Fatalf("%v %+v", err, f)
	}
	b, err := os.ReadFile(path)
	must(err)
	f, err = decodeHistory(b[:len(b)-historyBytes-1]) // the rejection is torn
	if err != nil || len(f.Ops) != 3 || f.Ops[2].Outcome != check.Pending || f.Torn != historyBytes-1 {
		t.Fatalf("torn: %v %+v", err, f)
	}
	b = append(b, b[len(b)-4*historyBytes:len(b)-3*historyBytes]...) // an answer of another operation
	if _, err := decodeHistory(b); !errors.Is(err, ErrFormat) {
		t.Errorf("an answer without its invocation: %v", err)
	}
}

func TestAcksOnlyRise(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a")
	a, err := CreateAcks(path, 2, 1000)
	if err != nil {
		t.Fatal(err)
	}
	a.Raise(7, 50)
	a.Raise(7, 40)
	a.Raise(999, 1)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	a, err = CreateAcks(path, 2, 1000) // the next life
	if err != nil {
		t.Fatal(err)
	}
	a.Raise(7, 60)
	if a.TS(7) != 60 || a.TS(999) != 1 || a.TS(0) != 0 || a.Count() != 4 || a.Keys() != 1000 {
		t.Errorf("%d %d %d", a.TS(7), a.TS(999), a.Count())
	}
	table, err := ReadAcks(path) // while it is mapped
	if err != nil || table.Node != 2 || table.Count != 4 || table.TS[7] != 60 || table.TS[999] != 1 {
		t.Errorf("%v %+v", err, table)
	}
	for name, f := range map[string]func() (*Acks, error){
		"other node": func() (*Acks, error) { return CreateAcks(path, 3, 1000) },
		"other size": func() (*Acks, error) { return CreateAcks(path, 2, 1001) },
	} {
		if _, err := f(); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := decodeAcks([]byte("short")); !errors.Is(err, ErrFormat) {
		t.Errorf("short: %v", err)
	}
}

// TestAcksOfManyGoroutines is for the race detector: a heap backing, which it sees.
func TestAcksOfManyGoroutines(t *testing.T) {
	a := NewAcks(0, 64)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			last := [64]uint64{}
			for range 20_000 {
				id := rng.Uint64N(64)
				a.Raise(id, 1+rng.Uint64N(1_000_000))
				if now := a.TS(id); now < last[id] {
					t.Errorf("key %d fell from %d to %d", id, last[id], now)
					return
				} else {
					last[id] = now
				}
			}
		})
	}
	wg.Wait()
	if a.Count() != 80_000 {
		t.Errorf("%d acknowledgements counted", a.Count())
	}
}

const childEnv = "HEALKV_RECORD_TEST_CHILD"

// TestKilledProcess kills a process with SIGKILL in the middle of recording: what
// it wrote before it said so is there.
func TestKilledProcess(t *testing.T) {
	if dir := os.Getenv(childEnv); dir != "" {
		child(dir)
		return
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledProcess$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	said := make([]byte, 1)
	if _, err := out.Read(said); err != nil { // blocks until the child has recorded
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // "signal: killed", as wanted
	acks, err := ReadAcks(filepath.Join(dir, "acks"))
	if err != nil || acks.Count != 100 || acks.TS[99] != 100 {
		t.Fatalf("acks: %v", err)
	}
	hist, err := ReadHistory(filepath.Join(dir, "history"))
	if err != nil || len(hist.Ops) != 1 || hist.Ops[0].Outcome != check.Pending {
		t.Fatalf("history: %v", err)
	}
	wins, err := ReadWindows(filepath.Join(dir, "windows"))
	if err != nil || len(wins.Windows) != 1 || wins.Windows[0].Index != 5 {
		t.Fatalf("windows: %v", err)
	}
}

func child(dir string) {
	check0 := func(err error) {
		if err != nil {
			panic(err)
		}
	}
	a, err := CreateAcks(filepath.Join(dir, "acks"), 0, 100)
	check0(err)
	for id := range uint64(100) {
		a.Raise(id, id+1)
	}
	h, err := CreateHistory(filepath.Join(dir, "history"), HistoryHeader{})
	check0(err)
	check0(h.Invoke(check.Write, 1, 2, 3))
	w, err := CreateWindows(filepath.Join(dir, "windows"), WindowHeader{})
	check0(err)
	var r, wr Hist
	check0(w.Append(&Window{Index: 5, FirstWrite: -1, LastWrite: -1}, &r, &wr))
	_, err = os.Stdout.Write([]byte("!"))
	check0(err)
	select {}
}

func TestClock(t *testing.T) {
	last := Now()
	for range 1000 {
		before := clockGettime()
		now := Now()
		after := clockGettime()
		if now < last || now < before-50_000 || now > after+50_000 {
			t.Fatalf("Now %d, CLOCK_MONOTONIC %d to %d, before that %d", now, before, after, last)
		}
		last = now
	}
}

func TestAppendDoesNotAllocate(t *testing.T) {
	ww, err := CreateWindows(filepath.Join(t.TempDir(), "w"), WindowHeader{})
	if err != nil {
		t.Fatal(err)
	}
	defer ww.Close()
	rng := rand.New(rand.NewPCG(4, 4))
	var r, w Hist
	i := int64(0)
	if n := testing.AllocsPerRun(200, func() {
		for range 300 {
			r.Record(rng.Int64N(1 << 24))
			w.Record(rng.Int64N(1 << 28))
		}
		i++
		if err := ww.Append(&Window{Index: i}, &r, &w); err != nil {
			t.Fatal(err)
		}
		r.Reset()
		w.Reset()
	}); n != 0 {
		t.Errorf("%v allocations a window", n)
	}
}

func FuzzDecodeWindows(f *testing.F) {
	ws, hists := someWindows(rand.New(rand.NewPCG(5, 5)), 3)
	path := filepath.Join(f.TempDir(), "w")
	ww, err := CreateWindows(path, WindowHeader{})
	if err != nil {
		f.Fatal(err)
	}
	for i := range ws {
		if err := ww.Append(&ws[i], hists[i][0], hists[i][1]); err != nil {
			f.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(windowMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		file, err := decodeWindows(b)
		if err == nil {
			var m Merged
			for _, w := range file.Windows {
				if err := errors.Join(m.Add(w.ReadHist, w.Read.Max), m.Add(w.WriteHist, w.Write.Max)); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, _ = decodeWindow(b) // past the checksum, too
	})
}

func FuzzDecodeHistory(f *testing.F) {
	path := filepath.Join(f.TempDir(), "h")
	h, err := CreateHistory(path, HistoryHeader{})
	if err != nil {
		f.Fatal(err)
	}
	if err := errors.Join(h.Invoke(check.Write, 1, 2, 3), h.Return(check.Write, check.Done, 1, 2, 4), h.Invoke(check.Read, 1, 0, 5)); err != nil {
		f.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		if file, err := decodeHistory(b); err == nil {
			check.Registers(file.Ops)
		}
		_, _ = decodeAcks(b)
	})
}

func BenchmarkWindow(b *testing.B) {
	ww, err := CreateWindows(filepath.Join(b.TempDir(), "w"), WindowHeader{})
	if err != nil {
		b.Fatal(err)
	}
	defer ww.Close()
	var r, w Hist
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		for k := range int64(500) {
			r.Record(20_000 + k*k*2)
			w.Record(120_000 + k*k*8)
		}
		if err := ww.Append(&Window{Index: i}, &r, &w); err != nil {
			b.Fatal(err)
		}
		r.Reset()
		w.Reset()
	}
}

func BenchmarkRecord(b *testing.B) {
	var h Hist
	b.ReportAllocs()
	for i := int64(0); b.Loop(); i++ {
		h.Record(20_000 + i*977%1_000_000)
	}
}

func BenchmarkNow(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		Now()
	}
}
