package shm

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"healkv/rdma"
	"healkv/rdma/gather"
)

func TestDescriptorsAreChecked(t *testing.T) {
	d := runDir(t)
	a, b := newEnd(t, d, 0, 1), newEnd(t, d, 1, 1)
	pool := filepath.Join(d.Path(), "pool")
	if err := os.WriteFile(pool, make([]byte, 8192), 0o600); err != nil {
		t.Fatal(err)
	}
	os.Symlink(pool, filepath.Join(d.Path(), "link"))
	for _, x := range []exposed{
		{"pool", 0, 1}, {"", 0, 1}, {pool + "/../pool", 0, 1}, {pool, -1, 1}, {pool, 0, 0}, {pool, 0, -1}, {pool, 1 << 62, 1 << 62},
		{"/" + strings.Repeat("x", descriptorMax), 0, 1},
	} {
		if err := b.Expose(rdma.Exposed{Path: x.Path, Base: x.Base, Size: x.Size}); !errors.Is(err, ErrExposed) {
			t.Errorf("%d bytes at %d: %v", x.Size, x.Base, err)
		}
	}
	texts := []string{
		"", "{", "null", "[]", `{"path":"` + pool + `"}`,
		`{"path":"` + pool + `","base":0,"size":8193}`,
		`{"path":"` + pool + `","base":8192,"size":1}`,
		`{"path":"` + pool + `","base":1,"size":8192}`,
		`{"path":"` + pool + `","base":0,"size":99999999999999999999}`,
		`{"path":"` + pool + `","base":0,"size":1,"more":1}`,
		`{"path":"` + pool + `","base":0,"size":1}{}`,
		`{"path":"` + pool + `.none","base":0,"size":1}`,
		`{"path":"` + d.Path() + `","base":0,"size":1}`,
		`{"path":"` + d.Path() + `/link","base":0,"size":1}`,
		`{"path":"/dev/zero","base":0,"size":1}`,
		strings.Repeat(" ", descriptorMax+1),
	}
	for _, s := range texts {
		if err := os.WriteFile(filepath.Join(d.Path(), b.name(extPool)), []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
		if r, err := a.Remote(1, 1); err == nil || r != nil {
			t.Errorf("%.80q was taken", s)
		}
	}
	t.Logf("%d descriptors refused", len(texts))
	if err := b.ExposeHeap([]byte{1}); !errors.Is(err, ErrExposed) {
		t.Error(err)
	}
	if err := b.Expose(rdma.Exposed{Path: pool, Base: 4096, Size: 4096}); err != nil {
		t.Fatal(err)
	}
	r, err := a.Remote(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	h := newEnd(t, Heap(), 0, 1)
	if err := h.Expose(rdma.Exposed{Path: pool, Base: 0, Size: 1}); !errors.Is(err, ErrExposed) {
		t.Error(err)
	}
	if err := h.ExposeHeap(nil); !errors.Is(err, ErrExposed) {
		t.Error(err)
	}
}

// A peer that shortens its file costs an error, not the process; what is still
// there can be read on.
func TestFaultIsAnError(t *testing.T) {
	d := runDir(t)
	a, b := newEnd(t, d, 0, 1), newEnd(t, d, 1, 1)
	pool := filepath.Join(d.Path(), "pool")
	if err := os.WriteFile(pool, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Expose(rdma.Exposed{Path: pool, Base: 0, Size: 1 << 20}); err != nil {
		t.Fatal(err)
	}
	r, err := a.Remote(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	buf := make([]byte, 64<<10)
	if _, err := r.ReadAt(buf, 512<<10); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(pool, 256<<10); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if n, err := r.ReadAt(buf, 512<<10); !errors.Is(err, gather.ErrFault) || n != 0 {
			t.Fatalf("%d, %v", n, err)
		}
		if _, err := r.ReadAt(buf, 128<<10); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := r.BytesRead(), uint64(4*len(buf)); got != want {
		t.Errorf("counted %d, want %d", got, want)
	}
}

func FuzzDecodeExposed(f *testing.F) {
	f.Add([]byte(`{"path":"/x","base":0,"size":1}`))
	f.Add([]byte(`{"path":"../x","base":-1,"size":1e3}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := decodeExposed(b)
		if err != nil {
			if !errors.Is(err, ErrExposed) {
				t.Fatal(err)
			}
			return
		}
		if !filepath.IsAbs(x.Path) || x.Base < 0 || x.Size <= 0 || x.Base+x.Size < 0 {
			t.Fatalf("accepted %+v", x)
		}
	})
}
