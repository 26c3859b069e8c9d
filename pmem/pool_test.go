package pmem

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"healkv/pmem/index"
	"healkv/pmem/record"
	"healkv/pmem/store"
)

// place is where a pool of a test lies.
type place struct{ dir, index string }

func testPlace(t testing.TB, d Domain) place {
	if d == DomainFile {
		return place{fileDir(t), memDir(t)}
	}
	m := memDir(t)
	if d == DomainDAX {
		return place{daxDir(t), m}
	}
	return place{m, m}
}

func (at place) format(t testing.TB, d Domain, size int64) {
	t.Helper()
	o := testFormat(at.dir, at.index, d)
	o.SizeBytes = size
	if err := Format(o); err != nil {
		t.Fatal(err)
	}
}

func (at place) options() OpenOptions {
	f := testFormat(at.dir, at.index, DomainAuto)
	return OpenOptions{Dir: at.dir, IndexDir: at.index, Identity: f.Identity}
}

func (at place) open(t testing.TB) *Pool {
	t.Helper()
	p, err := Open(at.options())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func key(i int) []byte { return fmt.Appendf(nil, "key-%07d", i) }

func value(i int, ts uint64) []byte {
	return fmt.Appendf(nil, "value of %d at %d %s", i, ts, strings.Repeat("x", i%97))
}

func put(p *Pool, i int, ts uint64, locked bool) uint64 {
	s := p.Store()
	k := key(i)
	hash := s.Hash(k)
	var e store.Entry
	s.Find(&e, hash, k)
	h := record.Header{Kind: record.Put, TS: ts, OwnerNode: 3, OwnerIncarnation: p.Super().Incarnation}
	return s.Put(&e, &h, k, value(i, ts), locked)
}

func marker(p *Pool, epoch uint32) uint64 {
	return p.Store().AppendMarker(&record.Header{Kind: record.Marker, Epoch: epoch, Seq: p.Stable()}, nil)
}

// check compares a key's newest record; ts 0 means that the key is unknown.
func check(t testing.TB, p *Pool, i int, ts uint64, locked bool) {
	t.Helper()
	s := p.Store()
	k := key(i)
	var e store.Entry
	s.Find(&e, s.Hash(k), k)
	if e.OK != (ts != 0) || e.TS != ts || e.Locked != locked {
		t.Fatalf("key %d: found %t ts %d locked %t, want ts %d locked %t", i, e.OK, e.TS, e.Locked, ts, locked)
	}
	if ts != 0 {
		if got := record.Value(p.log.Record(e.Pos)); string(got) != string(value(i, ts)) {
			t.Fatalf("key %d: value %q", i, got)
		}
	}
}

// words is what an index says, in an order that does not depend on how it
// came to be.
func words(p *Pool) []uint64 {
	for p.Tend() {
	}
	var all []uint64
	p.index.Words(func(w index.Word) bool {
		all = append(all, w.Pos()<<1|uint64(flagByte(w.Locked(), 0)))
		return true
	})
	slices.Sort(all)
	return all
}

func begin(t testing.TB, p *Pool, incarnation uint32) {
	t.Helper()
	if err := p.Begin(incarnation); err != nil {
		t.Fatal(err)
	}
}

func flush(t testing.TB, p *Pool) {
	t.Helper()
	if err := p.Flush(); err != nil {
		t.Fatal(err)
	}
}

func closePool(t testing.TB, p *Pool, clean bool) {
	t.Helper()
	if err := p.Close(clean); err != nil {
		t.Fatal(err)
	}
}

// sameAfterRebuild opens a pool as it is, then without its index, and wants
// equal words. It returns the pool, rebuilt.
func sameAfterRebuild(t testing.TB, at place, kept *Pool) *Pool {
	t.Helper()
	want, path := words(kept), kept.indexPath
	if !kept.Recovered().Kept {
		t.Fatalf("index not kept: %s", kept.Recovered().How())
	}
	a := kept.Recovered()
	closePool(t, kept, false)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p := at.open(t)
	b := p.Recovered()
	if b.Kept {
		t.Fatal("kept an index that is not there")
	}
	if b.Tail != a.Tail || b.LastMarker != a.LastMarker || b.Keys != a.Keys {
		t.Fatalf("kept %+v\nrebuilt %+v", a, b)
	}
	if got := words(p); !slices.Equal(got, want) {
		n := 0
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Logf("kept %d/%d, rebuilt %d/%d", want[i]>>1, want[i]&1, got[i]>>1, got[i]&1)
				if n++; n > 5 {
					break
				}
			}
		}
		t.Fatalf("kept index has %d words, rebuilt %d, and they differ (stable kept %d, rebuilt %d)", len(want), len(got), a.Stable, b.Stable)
	}
	t.Logf("%d words equal; %s; %s", len(want), a.How(), b.How())
	return p
}

func TestPoolRoundTrip(t *testing.T) {
	for _, d := range []Domain{DomainFile, DomainMemory} {
		t.Run(d.String(), func(t *testing.T) {
			at := testPlace(t, d)
			at.format(t, d, testPoolBytes)
			p := at.open(t)
			if r := p.Recovered(); r.Keys != 0 || !r.Complete || r.Stable != 0 || r.PreviousIncarnation != 0 {
				t.Fatalf("a fresh pool: %+v", r)
			}
			begin(t, p, 5)
			var stable, mark uint64
			for i := range 3000 {
				pos := put(p, i, uint64(i+1), false)
				if i == 2000 {
					stable = pos
				}
				if i == 1000 {
					mark = marker(p, 7)
				}
				if i%500 == 0 {
					flush(t, p)
				}
			}
			for i := range 100 {
				put(p, i, 10_000, false)
			}
			flush(t, p)
			p.SetStable(stable)
			tail := p.Store().Tail()
			info := p.Info()
			if info.Domain != d || info.FreeBytes == 0 || info.UsedBytes == 0 || info.PageSize < 4096 {
				t.Fatalf("info %+v", info)
			}
			t.Logf("%+v", info)
			closePool(t, p, true)
			if err := p.Close(true); !errors.Is(err, ErrClosed) {
				t.Fatalf("second close: %v", err)
			}

			p = at.open(t)
			r := p.Recovered()
			if !r.Clean || !r.Kept || r.Tail < tail || r.Stable != stable || r.LastMarker != mark || r.Keys != 3000 || r.PreviousIncarnation != 5 || !r.SameBoot {
				t.Fatalf("after a clean close: %+v", r)
			}
			left := 0
			if err := p.Leftovers(func(hash, pos, ts uint64) {
				left++
				if pos < stable {
					t.Fatalf("leftover at %d below stable %d", pos, stable)
				}
			}); err != nil || left != 1100 {
				t.Fatalf("%d leftovers, %v", left, err)
			}
			p = sameAfterRebuild(t, at, p)
			for i := range 3000 {
				ts := uint64(i + 1)
				if i < 100 {
					ts = 10_000
				}
				check(t, p, i, ts, i < 100 || i >= 2000)
			}
			check(t, p, 3000, 0, false)
			if err := p.Begin(5); !errors.Is(err, ErrIncarnation) {
				t.Fatalf("an old incarnation: %v", err)
			}
			begin(t, p, 6)
			if pos := put(p, 0, 20_000, true); pos < tail {
				t.Fatalf("position %d was used before (tail %d)", pos, tail)
			}
			flush(t, p)
			check(t, p, 0, 20_000, true)
			closePool(t, p, true)
		})
	}
}

func TestSecondProcessIsRefused(t *testing.T) {
	at := testPlace(t, DomainMemory)
	at.format(t, DomainMemory, testPoolBytes)
	p := at.open(t)
	defer p.Close(true)
	if err := Look(at.options()); err != nil {
		t.Errorf("looking at a pool in use: %v", err)
	}
	_, err := Open(at.options())
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), fmt.Sprint("pid ", os.Getpid())) {
		t.Fatalf("in this process: %v", err)
	}
	out, err := child(t, "open", at, DomainMemory).CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprint("pid ", os.Getpid())) {
		t.Fatalf("in another process: %v, %s", err, out)
	}
	t.Logf("%s", out)
}

func TestOpenRefusesOthers(t *testing.T) {
	at := testPlace(t, DomainFile)
	if _, err := Open(at.options()); !errors.Is(err, ErrNoPool) {
		t.Fatalf("no pool: %v", err)
	}
	at.format(t, DomainFile, testPoolBytes)
	n := 0
	refused := func(want error, part string, change func(*OpenOptions)) {
		t.Helper()
		o := at.options()
		change(&o)
		_, err := Open(o)
		if !errors.Is(err, want) || !strings.Contains(err.Error(), part) {
			t.Fatalf("got %v, want %v with %q", err, want, part)
		}
		if err := Look(o); !errors.Is(err, want) && !slices.Contains([]error{ErrIndexDir, ErrSize, ErrDamaged}, want) { // those are not in the superblock
			t.Fatalf("Look: got %v, want %v", err, want)
		}
		t.Log(err)
		n++
	}
	refused(ErrForeign, "cluster", func(o *OpenOptions) { o.Cluster[3] = 7 })
	refused(ErrForeign, "node is 3 in the pool and 4 in", func(o *OpenOptions) { o.Node = 4 })
	refused(ErrForeign, "number of shards is 2 in the pool and 4 in", func(o *OpenOptions) { o.Shards = 4 })
	refused(ErrForeign, "hash seed", func(o *OpenOptions) { o.HashSeed = 1 })
	refused(ErrDomain, "formatted for file and the config asks for memory", func(o *OpenOptions) { o.Domain = DomainMemory })
	refused(ErrIndexDir, "/dev/shm", func(o *OpenOptions) { o.IndexDir = o.Dir })

	path := poolPath(at.dir, 1)
	rewrite := func(change func([]byte)) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 2 {
			c := b[i*superBytes : (i+1)*superBytes]
			change(c)
			binary.LittleEndian.PutUint32(c[8:], superCRC(c))
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite(func(c []byte) { c[12] = 9 })
	refused(ErrLayout, "layout version is 9 in the pool and 2 in", func(*OpenOptions) {})
	rewrite(func(c []byte) { c[12] = layoutVersion })
	if err := os.Truncate(path, testPoolBytes-segmentBytesMin); err != nil {
		t.Fatal(err)
	}
	refused(ErrSize, fmt.Sprint(testPoolBytes), func(*OpenOptions) {})
	t.Logf("%d refusals", n)
}

func TestDamagedSuperblock(t *testing.T) {
	at := testPlace(t, DomainFile)
	at.format(t, DomainFile, testPoolBytes)
	p := at.open(t)
	begin(t, p, 2)
	put(p, 1, 1, false)
	flush(t, p)
	if err := p.WriteSuperblock(func(s *Super) { s.ViewEpoch, s.LostThrough, s.Complete = 9, 4, false }); err != nil {
		t.Fatal(err)
	}
	closePool(t, p, true)
	flip := func(copy int) {
		f, err := os.OpenFile(poolPath(at.dir, 1), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		var b [1]byte
		at := int64(copy*superBytes + 130)
		if _, err := f.ReadAt(b[:], at); err != nil {
			t.Fatal(err)
		}
		b[0] ^= 4
		if _, err := f.WriteAt(b[:], at); err != nil {
			t.Fatal(err)
		}
	}
	for copy := range 2 {
		flip(copy)
		p = at.open(t)
		r := p.Recovered()
		if r.SuperDamaged != 1 || r.ViewEpoch != 9 || r.LostThrough != 4 || r.Complete || r.PreviousIncarnation != 2 {
			t.Fatalf("copy %d damaged: %+v", copy, r)
		}
		check(t, p, 1, 1, true)
		closePool(t, p, false)
		flip(copy)
	}
	flip(0)
	p = at.open(t)
	begin(t, p, 3) // writes both copies
	closePool(t, p, true)
	p = at.open(t)
	if r := p.Recovered(); r.SuperDamaged != 0 {
		t.Fatalf("not repaired: %+v", r)
	}
	closePool(t, p, false)
	flip(0)
	flip(1)
	if _, err := Open(at.options()); !errors.Is(err, ErrSuperblock) {
		t.Fatalf("both copies damaged: %v", err)
	}
}

// A torn end is cut, whatever the bytes; the same bytes below the durable
// position are damage.
func TestTornTailAndDamage(t *testing.T) {
	at := testPlace(t, DomainFile)
	at.format(t, DomainFile, testPoolBytes)
	p := at.open(t)
	begin(t, p, 1)
	var flushed, torn uint64
	for i := range 200 {
		flushed = put(p, i, 1, false)
	}
	flush(t, p)
	if err := p.WriteSuperblock(func(*Super) {}); err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		pos := put(p, i, 2, false)
		if i == 20 {
			torn = pos
		}
	}
	off, _ := p.log.ArenaOffset(torn)
	p.log.Record(torn)[70] ^= 1
	durable, _ := p.log.ArenaOffset(flushed)
	closePool(t, p, false)

	p = at.open(t)
	r := p.Recovered()
	if r.Kept || r.Tail > torn {
		t.Fatalf("torn at %d: %+v", torn, r)
	}
	for i := range 200 {
		want := uint64(1)
		if i < 20 {
			want = 2
		}
		check(t, p, i, want, true)
	}
	t.Logf("%s; torn at arena offset %d", r.How(), off)
	begin(t, p, 2)
	if pos := put(p, 0, 3, false); pos <= torn {
		t.Fatalf("position %d was used before", pos)
	}
	flush(t, p)
	closePool(t, p, true)

	f, err := os.OpenFile(poolPath(at.dir, 1), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte{0xff}, dataOffset+durable+70); err != nil {
		t.Fatal(err)
	}
	f.Close()
	removeIndex(t, at)
	p = at.open(t)
	defer closePool(t, p, false)
	rd := p.Store().NewReader()
	defer rd.Close()
	if _, _, st := rd.Get(p.Store().Hash(key(199)), key(199), nil); st != store.Damaged {
		t.Fatalf("damage below the durable position: key 199 is %v", st)
	}
	if r := p.Recovered(); r.Doubtful != "" || len(r.Extents) != 0 {
		t.Fatalf("a damaged value makes a pool doubtful: %+v", r)
	}
	for i := 1; i < 199; i++ {
		want := uint64(1)
		if i < 20 {
			want = 2
		}
		check(t, p, i, want, true)
	}
}

func removeIndex(t testing.TB, at place) {
	t.Helper()
	list, err := os.ReadDir(at.index)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if strings.HasSuffix(e.Name(), ".index") {
			if err := os.Remove(at.index + "/" + e.Name()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestDiscardIsCompleteOnlyAtTheEnd(t *testing.T) {
	for _, d := range []Domain{DomainFile, DomainMemory} {
		at := testPlace(t, d)
		at.format(t, d, testPoolBytes)
		p := at.open(t)
		begin(t, p, 1)
		for i := range 5000 {
			put(p, i, 1, false)
		}
		flush(t, p)
		tail := p.Store().Tail()
		p.SetStable(tail)
		if err := p.Discard(2); err != nil {
			t.Fatal(err)
		}
		if r := p.Super(); r.Complete || r.Stable != 0 {
			t.Fatalf("after Discard: %+v", r)
		}
		check(t, p, 1, 0, false)
		first := put(p, 7, 9, false)
		if first < tail {
			t.Fatalf("position %d was used before, tail %d", first, tail)
		}
		flush(t, p)
		closePool(t, p, false) // as by a crash

		p = at.open(t)
		if r := p.Recovered(); r.Complete || r.Keys != 1 || r.Stable != 0 {
			t.Fatalf("reopened: %+v", r)
		}
		p = sameAfterRebuild(t, at, p)
		check(t, p, 1, 0, false)
		check(t, p, 7, 9, true)
		begin(t, p, 3)
		if err := p.WriteSuperblock(func(s *Super) { s.Complete = true }); err != nil {
			t.Fatal(err)
		}
		closePool(t, p, true)
		p = at.open(t)
		if r := p.Recovered(); !r.Complete || r.Keys != 1 {
			t.Fatalf("at the end: %+v", r)
		}
		closePool(t, p, true)
	}
}

// A process that dies after Discard's superblock and before, or amid, the rest
// leaves segments of the discarded life.
func TestDiscardCutOff(t *testing.T) {
	at := testPlace(t, DomainMemory)
	at.format(t, DomainMemory, testPoolBytes)
	p := at.open(t)
	begin(t, p, 1)
	for i := range 20000 {
		put(p, i, 1, false)
	}
	flush(t, p)
	tail := p.Store().Tail()
	base := (tail + segmentBytesMin - 1) &^ uint64(segmentBytesMin-1)
	p.SetStable(0)
	err := p.WriteSuperblock(func(s *Super) { s.Complete, s.Base, s.Incarnation = false, base, 2 })
	if err != nil {
		t.Fatal(err)
	}
	clear(p.region.Bytes()[dataOffset : dataOffset+64]) // one of the segment headers is gone already
	closePool(t, p, false)
	p = at.open(t)
	if r := p.Recovered(); r.Complete || r.Keys != 0 || r.Tail < base || r.Kept {
		t.Fatalf("%+v", r)
	}
	check(t, p, 1, 0, false)
	begin(t, p, 3)
	if pos := put(p, 1, 5, false); pos < base {
		t.Fatalf("position %d below the base %d", pos, base)
	}
	flush(t, p)
	closePool(t, p, false)
	p = at.open(t)
	check(t, p, 1, 5, true)
	check(t, p, 2, 0, false)
	closePool(t, p, true)
}

func TestFailedFlushPoisons(t *testing.T) {
	at := testPlace(t, DomainFile)
	at.format(t, DomainFile, testPoolBytes)
	p := at.open(t)
	begin(t, p, 1)
	for i := range 100 {
		put(p, i, 1, false)
	}
	flush(t, p)
	good := p.log.Flushed()
	boom := errors.New("injected")
	fail := true
	p.region.SetSyncHook(func() error {
		if fail {
			return boom
		}
		return nil
	})
	put(p, 1, 2, false)
	p.SetStable(p.Store().Tail())
	if err := p.Flush(); !errors.Is(err, ErrFlush) || !errors.Is(err, boom) {
		t.Fatalf("failed flush: %v", err)
	}
	fail = false
	put(p, 2, 2, false)
	if err := p.Flush(); !errors.Is(err, ErrFlush) {
		t.Fatalf("flush after a failed one: %v", err)
	}
	if err := p.WriteSuperblock(func(*Super) {}); !errors.Is(err, ErrFlush) {
		t.Fatalf("superblock after a failed flush: %v", err)
	}
	if p.log.Flushed() != good {
		t.Fatalf("flushed moved from %d to %d", good, p.log.Flushed())
	}
	if err := p.Close(true); !errors.Is(err, ErrFlush) {
		t.Fatalf("clean close: %v", err)
	}
	p = at.open(t)
	r := p.Recovered()
	if !r.FailedFlush || r.Clean || r.Kept || r.Stable > good {
		t.Fatalf("after a failed flush at %d: %+v", good, r)
	}
	check(t, p, 1, 2, true)
	t.Log(r.How())
	begin(t, p, 2)
	flush(t, p)
	closePool(t, p, true)
	p = at.open(t)
	if r := p.Recovered(); r.FailedFlush || !r.Clean {
		t.Fatalf("the life after: %+v", r)
	}
	closePool(t, p, true)
}

// child is this test binary again, doing childMain.
func child(t testing.TB, what string, at place, d Domain) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, "-test.run=^$")
	cmd.Env = append(os.Environ(), "PMEM_TEST_CHILD="+what, "PMEM_TEST_DIR="+at.dir, "PMEM_TEST_INDEX="+at.index, "PMEM_TEST_DOMAIN="+d.String())
	return cmd
}

func TestMain(m *testing.M) {
	if what := os.Getenv("PMEM_TEST_CHILD"); what != "" {
		if err := childMain(what); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

const (
	killKeys  = 5000
	killBurst = 16
)

// childMain appends bursts and says after each flush how many it has made,
// until it is killed.
func childMain(what string) error {
	at := place{os.Getenv("PMEM_TEST_DIR"), os.Getenv("PMEM_TEST_INDEX")}
	p, err := Open(at.options())
	if err != nil {
		return err
	}
	if what == "open" {
		return p.Close(true)
	}
	r := p.Recovered()
	if err := p.Begin(r.PreviousIncarnation + 1); err != nil {
		return err
	}
	// As a roll-forward would: the leftovers of the last life are settled.
	if err := p.Leftovers(func(hash, pos, ts uint64) { p.Store().Unlock(hash, pos) }); err != nil {
		return err
	}
	ts := uint64(r.PreviousIncarnation+1) << 32
	for p.Store().FreeBytes() > 4<<20 {
		stable := p.Store().Tail()
		for range killBurst {
			ts++
			put(p, int(ts%killKeys), ts, true)
		}
		if ts%64 == 0 {
			marker(p, uint32(ts))
		}
		if err := p.Flush(); err != nil {
			return err
		}
		fmt.Println("flushed", ts)
		// Everything before this burst is settled: unlock, then say stable.
		err := p.log.Scan(max(p.Stable(), r.Tail), stable, func(pos uint64, h *record.Header, img []byte) bool {
			if h.Kind == record.Put {
				p.Store().Unlock(h.Hash, pos)
			}
			return true
		})
		if err != nil {
			return err
		}
		p.SetStable(stable)
	}
	fmt.Println("full")
	select {}
}

func TestKilledProcess(t *testing.T) {
	for _, d := range []Domain{DomainFile, DomainMemory, DomainDAX} {
		t.Run(d.String(), func(t *testing.T) {
			at := testPlace(t, d)
			at.format(t, d, dataOffset+32*segmentBytesMin)
			rounds := 4
			newest := make(map[int]uint64) // key → newest timestamp that was flushed
			for round := range rounds {
				cmd := child(t, "append", at, d)
				out, err := cmd.StdoutPipe()
				if err != nil {
					t.Fatal(err)
				}
				cmd.Stderr = os.Stderr
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				var last uint64
				in := bufio.NewScanner(out)
				bursts := 0
				for in.Scan() {
					if _, err := fmt.Sscanf(in.Text(), "flushed %d", &last); err != nil {
						t.Fatalf("child says %q", in.Text())
					}
					if bursts++; bursts == 20+37*round {
						if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
							t.Fatal(err)
						}
					}
				}
				if err := cmd.Wait(); err == nil || cmd.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
					t.Fatalf("child ended by itself: %v", err)
				}
				for ts := uint64(round+1)<<32 + 1; ts <= last; ts++ {
					newest[int(ts%killKeys)] = ts
				}
				p := at.open(t)
				r := p.Recovered()
				if r.PreviousIncarnation != uint32(round+1) || r.Clean || r.Stable == 0 || r.LastMarker == 0 {
					t.Fatalf("round %d: %+v", round, r)
				}
				s := p.Store()
				for i, ts := range newest {
					var e store.Entry
					k := key(i)
					s.Find(&e, s.Hash(k), k)
					if !e.OK || e.TS < ts {
						t.Fatalf("round %d: key %d at %d, %d was flushed", round, i, e.TS, ts)
					}
					if e.Locked != (e.Pos >= r.Stable) {
						t.Fatalf("round %d: key %d at %d locked %t, stable %d", round, i, e.Pos, e.Locked, r.Stable)
					}
				}
				closePool(t, p, false)
				// The superblock's stable position may lag behind the index's;
				// make them equal so that the lock bits can be compared.
				p = at.open(t)
				if err := p.WriteSuperblock(func(*Super) {}); err != nil {
					t.Fatal(err)
				}
				closePool(t, sameAfterRebuild(t, at, p), false)
				t.Logf("round %d: %d bursts, %d keys compared, %s in %s", round, bursts, len(newest), r.How(), r.Total)
			}
		})
	}
}
