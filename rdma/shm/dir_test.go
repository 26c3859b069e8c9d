package shm

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healkv/rdma"
)

func TestRunDirectoryIsChecked(t *testing.T) {
	base := t.TempDir()
	at := func(name string) string { return filepath.Join(base, name) }
	os.Mkdir(at("open"), 0o700)
	os.Chmod(at("open"), 0o755)
	os.Mkdir(at("good"), 0o700)
	os.WriteFile(at("file"), nil, 0o600)
	os.Symlink(at("good"), at("link"))
	for name, says := range map[string]string{"open": "0755", "file": "directory", "link": "no link", "none": "no such file"} {
		_, err := Open(at(name))
		if !errors.Is(err, ErrDir) || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), at(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if os.Geteuid() == 0 {
		os.Mkdir(at("theirs"), 0o700)
		os.Chown(at("theirs"), 65534, 65534)
		if _, err := Open(at("theirs")); !errors.Is(err, ErrDir) || !strings.Contains(err.Error(), "65534") {
			t.Errorf("another user's: %v", err)
		}
	} else {
		t.Log("not root: another user's directory not tried")
	}
	d, err := Open(at("good"))
	if err != nil {
		t.Fatal(err)
	}
	if d.Path() != at("good") {
		t.Errorf("path %s", d.Path())
	}
	d.Close()
	if r := runDir(t); strings.HasPrefix(r.Path(), "/dev/shm") && !r.OnTmpfs() {
		t.Error("/dev/shm is not on tmpfs")
	}
}

func TestConfigLimits(t *testing.T) {
	good := Config{Dir: Heap(), Node: 1, Nodes: 3, Shard: 2, Incarnation: 1, RingBytes: 4096}
	for name, change := range map[string]func(*Config){
		"no directory":     func(c *Config) { c.Dir = nil },
		"no nodes":         func(c *Config) { c.Nodes = 0 },
		"too many nodes":   func(c *Config) { c.Nodes = 17 },
		"node beyond":      func(c *Config) { c.Node = 3 },
		"node below":       func(c *Config) { c.Node = -1 },
		"shard beyond":     func(c *Config) { c.Shard = 64 },
		"shard below":      func(c *Config) { c.Shard = -1 },
		"no incarnation":   func(c *Config) { c.Incarnation = 0 },
		"ring not 2^n":     func(c *Config) { c.RingBytes = 5000 },
		"ring too small":   func(c *Config) { c.RingBytes = 2048 },
		"ring too large":   func(c *Config) { c.RingBytes = 1 << 31 },
		"ring negative":    func(c *Config) { c.RingBytes = -4096 },
		"ring lowest int":  func(c *Config) { c.RingBytes = -1 << 63 },
		"ring 1<<62 bytes": func(c *Config) { c.RingBytes = 1 << 62 },
	} {
		c := good
		change(&c)
		if _, err := New(c); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	good.RingBytes = 0
	e, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	if e.Out().Size() != 4<<20 {
		t.Errorf("default ring of %d bytes", e.Out().Size())
	}
	if _, err := New(good); !errors.Is(err, fs.ErrExist) {
		t.Errorf("the same life twice: %v", err)
	}
}

// The files of one life exist while its endpoint does, and are closed to
// others.
func TestFilesOfALife(t *testing.T) {
	d := runDir(t)
	e := newEnd(t, d, 2, 9)
	if err := e.Expose(rdma.Exposed{Path: "/pool", Size: 1}); err != nil {
		t.Fatal(err)
	}
	names, _ := d.list()
	if got, want := strings.Join(names, " "), "n2-9-s0.bell n2-9-s0.pool n2-9-s0.ring"; got != want {
		t.Errorf("files %s, want %s", got, want)
	}
	for _, n := range names {
		if st, err := os.Stat(filepath.Join(d.Path(), n)); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v %v", n, st.Mode(), err)
		}
	}
	e.Close()
	if names, _ := d.list(); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
}

// A full file system is an error when the ring is made, not a fault later.
func TestNoSpace(t *testing.T) {
	d := runDir(t)
	_, err := d.create("n0-1-s0.ring", identity{kindRing, 0, 1, 0, 1 << 50})
	if err == nil {
		t.Fatal("a petabyte was reserved")
	}
	if names, _ := d.list(); len(names) != 0 {
		t.Errorf("left behind: %v", names)
	}
	t.Log(err)
}

// Whatever is wrong with a peer's files, Prepare is an error.
func TestBadPeerFiles(t *testing.T) {
	ring, bell := shardName(1, 1, 0, extRing), shardName(1, 1, 0, extBell)
	damage := func(name string, f func(b []byte) []byte) func(t *testing.T, dir string) {
		return func(t *testing.T, dir string) {
			path := filepath.Join(dir, name)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, f(b), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	put := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	cases := map[string]struct {
		do   func(t *testing.T, dir string)
		want error
	}{
		"empty ring":        {damage(ring, func(b []byte) []byte { return nil }), ErrFile},
		"short first line":  {damage(ring, func(b []byte) []byte { return b[:40] }), ErrFile},
		"header page only":  {damage(ring, func(b []byte) []byte { return b[:4096] }), ErrFile},
		"one byte short":    {damage(ring, func(b []byte) []byte { return b[:len(b)-1] }), ErrFile},
		"one byte long":     {damage(ring, func(b []byte) []byte { return append(b, 0) }), ErrFile},
		"magic":             {damage(ring, put(0, 'x')), ErrFile},
		"layout":            {damage(ring, put(8, 2)), ErrFile},
		"kind":              {damage(ring, put(12, 2)), ErrFile},
		"kind of nothing":   {damage(ring, put(12, 9)), ErrFile},
		"another node":      {damage(ring, put(16, 2)), ErrFile},
		"node 200":          {damage(ring, put(16, 200)), ErrFile},
		"another life":      {damage(ring, put(20, 2)), ErrFile},
		"no life":           {damage(ring, put(20, 0)), ErrFile},
		"another shard":     {damage(ring, put(24, 1)), ErrFile},
		"ring size 0":       {damage(ring, put(32, 0, 0, 0)), ErrFile},
		"ring size huge":    {damage(ring, put(32, 0, 0, 0, 0, 0, 0, 0, 0x80)), ErrFile},
		"ring size odd":     {damage(ring, put(32, 16)), ErrFile},
		"ring size doubled": {damage(ring, put(34, 2)), ErrFile},
		"empty bell":        {damage(bell, func(b []byte) []byte { return nil }), ErrFile},
		"short bell":        {damage(bell, func(b []byte) []byte { return b[:64] }), ErrFile},
		"bell is a ring":    {damage(bell, put(12, 1)), ErrFile},
		"bell of another":   {damage(bell, put(20, 3)), ErrFile},
		"open to others":    {func(t *testing.T, dir string) { os.Chmod(filepath.Join(dir, ring), 0o644) }, ErrFile},
		"ring is a directory": {func(t *testing.T, dir string) {
			os.Remove(filepath.Join(dir, ring))
			os.Mkdir(filepath.Join(dir, ring), 0o700)
		}, ErrFile},
		"ring is a link": {func(t *testing.T, dir string) {
			os.Rename(filepath.Join(dir, ring), filepath.Join(dir, "x"))
			os.Symlink(filepath.Join(dir, "x"), filepath.Join(dir, ring))
		}, nil},
		"no bell": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, bell)) }, rdma.ErrNoPeer},
		"no ring": {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, ring)) }, rdma.ErrNoPeer},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			d := runDir(t)
			a := newEnd(t, d, 0, 1)
			for name, id := range map[string]identity{ring: {kindRing, 1, 1, 0, 1 << 16}, bell: {kindBell, 1, 1, 0, 0}} {
				b := make([]byte, id.fileBytes())
				id.encode(b)
				if err := os.WriteFile(filepath.Join(d.Path(), name), b, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if l, err := a.Prepare(1, 1); err != nil {
				t.Fatalf("before the damage: %v", err)
			} else {
				l.Close()
			}
			c.do(t, d.Path())
			l, err := a.Prepare(1, 1)
			if err == nil || l != nil || c.want != nil && !errors.Is(err, c.want) {
				t.Fatalf("%v, want %v", err, c.want)
			}
		})
	}
	t.Logf("%d kinds of damage", len(cases))
}

func FuzzDecodeIdentity(f *testing.F) {
	good := identity{kindRing, 3, 7, 5, 1 << 20}
	line := make([]byte, lineBytes)
	good.encode(line)
	f.Add(line, good.fileBytes())
	f.Add(line[:63], good.fileBytes())
	f.Add([]byte{}, int64(0))
	f.Fuzz(func(t *testing.T, line []byte, size int64) {
		id, err := decodeIdentity(line, size)
		if err != nil {
			if !errors.Is(err, ErrFile) {
				t.Fatal(err)
			}
			return
		}
		if id.fileBytes() != size || size < pageBytes || id.node >= nodesMax || id.dataBytes&(id.dataBytes-1) != 0 || id.dataBytes > ringBytesMax {
			t.Fatalf("accepted %+v of %d bytes", id, size)
		}
	})
}

func FuzzParseName(f *testing.F) {
	for _, s := range []string{"n0-1-s0.ring", "n15-4294967295-s63.bell", "n1-2.live", "tmp.n1-2.live", "n1-2-s.pool", "n1-2-", "n-1-2.live", "."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		node, inc, ext, ok := parseName(name)
		if ok && (node < 0 || node >= nodesMax || inc == 0 || !strings.HasSuffix(name, ext)) {
			t.Fatalf("%q: %d %d %q", name, node, inc, ext)
		}
	})
}

func TestParseName(t *testing.T) {
	for node := range nodesMax {
		for _, inc := range []uint32{1, 77, 1<<32 - 1} {
			for _, ext := range []string{extRing, extBell, extPool} {
				if n, i, x, ok := parseName(shardName(node, inc, 63, ext)); !ok || n != node || i != inc || x != ext {
					t.Errorf("%s: %d %d %s %v", shardName(node, inc, 63, ext), n, i, x, ok)
				}
			}
			if n, i, x, ok := parseName(liveName(node, inc)); !ok || n != node || i != inc || x != extLive {
				t.Errorf("%s: %d %d %s %v", liveName(node, inc), n, i, x, ok)
			}
		}
	}
	for _, s := range []string{"", "n", "n.live", "n1.live", "n1-0.live", "n16-1.live", "n1-1-s64.ring", "n1-1-x0.ring", "n1-1.ring", "n1-1-s0.live", "n1-1-s0.txt", "x1-1.live", "n1-1-s0-s1.ring", "n1-1-.ring", "node.toml"} {
		if _, _, _, ok := parseName(s); ok {
			t.Errorf("%q taken for ours", s)
		}
	}
}
