package identity

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"healkv/dataplane/proto"
)

const cluster = "0123456789abcdef0123456789abcdef"

func issued(t *testing.T, dir string, now time.Time, valid time.Duration) Files {
	t.Helper()
	if _, _, err := Make(MakeOptions{Dir: dir, Cluster: cluster, Nodes: 2, Hosts: []string{"10.0.0.1", "host-b"}, Valid: valid, Now: now}); err != nil {
		t.Fatal(err)
	}
	return MadeFiles(filepath.Join(dir, "node-1"))
}

func TestMadeFilesLoad(t *testing.T) {
	dir := t.TempDir()
	f := issued(t, dir, time.Now(), time.Hour)
	c, err := f.Load(Name{cluster, 1})
	if err != nil {
		t.Fatal(err)
	}
	leaf := c.Own.Leaf
	if n, err := Of(leaf); err != nil || n != (Name{cluster, 1}) || n.String() != "healkv://"+cluster+"/1" {
		t.Errorf("name %v, %v", n, err)
	}
	if len(leaf.DNSNames) != 1 || leaf.DNSNames[0] != "host-b" || leaf.IsCA || leaf.PublicKeyAlgorithm != x509.ECDSA {
		t.Errorf("certificate: %q, CA %v, %v", leaf.DNSNames, leaf.IsCA, leaf.PublicKeyAlgorithm)
	}
	files := 0
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		info, err := d.Info()
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil || files != 8 {
		t.Errorf("%d files, %v; want 2 of the authority and 3 for each of 2 nodes", files, err)
	}
}

// A second Make takes the authority that is there, so that nodes need not all
// change at once.
func TestMakeAgainKeepsTheAuthority(t *testing.T) {
	dir := t.TempDir()
	f := issued(t, dir, time.Now(), time.Hour)
	old, err := f.Load(Name{cluster, 1})
	if err != nil {
		t.Fatal(err)
	}
	id, made, err := Make(MakeOptions{Dir: dir, Nodes: 3, Valid: time.Hour, Now: time.Now()})
	if err != nil || made || id != cluster {
		t.Fatalf("%q, new %v, %v", id, made, err)
	}
	again, err := f.Load(Name{cluster, 1})
	if err != nil || again.Own.Leaf.Equal(old.Own.Leaf) || !again.Roots.Equal(old.Roots) {
		t.Errorf("certificate or authority is not what it should be: %v", err)
	}
	for _, c := range []struct {
		change func(*MakeOptions)
		text   string
	}{
		{func(o *MakeOptions) { o.Cluster = "other" }, "is of cluster"},
		{func(o *MakeOptions) { o.Nodes = 17 }, "want 1 to 16"},
		{func(o *MakeOptions) { o.Hosts = []string{"a"} }, "1 hosts for 2 nodes"},
		{func(o *MakeOptions) { o.Valid = 0 }, "more than 0"},
		{func(o *MakeOptions) { o.Now = o.Now.Add(30 * 365 * 24 * time.Hour) }, "make a new one"},
		{func(o *MakeOptions) { o.Dir = t.TempDir() }, "needs the cluster's id"},
		{func(o *MakeOptions) { os.Remove(filepath.Join(dir, CAKeyFile)) }, "only one of them"},
	} {
		o := MakeOptions{Dir: dir, Nodes: 2, Valid: time.Hour, Now: time.Now()}
		c.change(&o)
		if _, _, err := Make(o); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%v; want %q", err, c.text)
		}
	}
}

func TestFilesThatWillNotDo(t *testing.T) {
	self := Name{cluster, 1}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cases := []struct {
		name   string
		change func(f *Files)
		self   Name
		want   string
		is     error
	}{
		{"key for all", func(f *Files) { os.Chmod(f.Key, 0o644) }, self, "chmod 0600", nil},
		{"key for the group", func(f *Files) { os.Chmod(f.Key, 0o640) }, self, "chmod 0600", nil},
		{"authority for all", func(f *Files) { os.Chmod(f.CA, 0o666) }, self, "chmod go-w", nil},
		{"no key", func(f *Files) { f.Key = "" }, self, "node certs", nil},
		{"key missing", func(f *Files) { os.Remove(f.Key) }, self, "no such file", nil},
		{"key is a directory", func(f *Files) { f.Key = t.TempDir() }, self, "not a regular file", nil},
		{"key of another", func(f *Files) { f.Key = filepath.Join(filepath.Dir(f.Key), "../node-0/key.pem") }, self, "does not match", nil},
		{"no PEM", func(f *Files) { write(f.CA, "x") }, self, "no certificate in PEM", nil},
		{"long", func(f *Files) { write(f.CA, strings.Repeat("x", fileBytesMax+1)) }, self, "at most", nil},
		{"another node", func(*Files) {}, Name{cluster, 0}, "name this node's own", ErrNode},
		{"another cluster", func(*Files) {}, Name{"other", 1}, "this is healkv://other/1", ErrCluster},
		{"expired", func(f *Files) {
			issued(t, filepath.Join(filepath.Dir(f.CA), ".."), time.Now().Add(-3*time.Hour), time.Hour)
		}, self, "issue a new one", ErrExpired},
		{"not yet", func(f *Files) {
			issued(t, filepath.Join(filepath.Dir(f.CA), ".."), time.Now().Add(3*time.Hour), time.Hour)
		}, self, "issue a new one", ErrExpired},
		{"another authority", func(f *Files) { f.CA = issued(t, t.TempDir(), time.Now(), time.Hour).CA }, self, "issue a new one", ErrUntrusted},
	}
	for _, c := range cases {
		f := issued(t, t.TempDir(), time.Now(), time.Hour)
		c.change(&f)
		_, err := f.Load(c.self)
		if !errors.Is(err, ErrFiles) || !strings.Contains(err.Error(), c.want) || c.is != nil && !errors.Is(err, c.is) {
			t.Errorf("%s: %v; want %q", c.name, err, c.want)
		}
	}
	t.Logf("%d kinds of files refused", len(cases))
	if os.Geteuid() == 0 {
		f := issued(t, t.TempDir(), time.Now(), time.Hour)
		if err := os.Chown(f.Key, 12345, -1); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Load(self); err == nil || !strings.Contains(err.Error(), "belongs to user 12345") {
			t.Errorf("key of another user: %v", err)
		}
	}
}

func TestNamesHaveOneSpelling(t *testing.T) {
	for text, ok := range map[string]bool{
		"healkv://c/0": true, "healkv://c/15": true, "healkv://c/16": false, "healkv://c/-1": false, "healkv://c/01": false,
		"healkv://c/1/": false, "healkv://c/": false, "healkv://c": false, "healkv:///1": false, "healkv://c/1?x": false,
		"healkv://c/1#x": false, "healkv://u@c/1": false, "spiffe://c/1": false, "healkv://c/+1": false,
	} {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Of(&x509.Certificate{URIs: []*url.URL{u}}); (err == nil) != ok || err != nil && !errors.Is(err, ErrName) {
			t.Errorf("%s: %v", text, err)
		}
	}
	two := []*url.URL{Name{"c", 1}.URI(), Name{"c", 2}.URI()}
	if _, err := Of(&x509.Certificate{URIs: two}); !errors.Is(err, ErrName) {
		t.Errorf("two names: %v", err)
	}
}

// Both is for either end of data connections.
func TestBothEndsVerify(t *testing.T) {
	dir := t.TempDir()
	issued(t, dir, time.Now(), time.Hour)
	other := t.TempDir()
	issued(t, other, time.Now(), time.Hour)
	end := func(dir string, n proto.NodeID) *tls.Config {
		return MadeFiles(filepath.Join(dir, []string{"node-0", "node-1"}[n])).Both(Name{cluster, n})
	}
	shake := func(server, client *tls.Config) (error, error) {
		x, y := net.Pipe()
		defer x.Close()
		defer y.Close()
		s, c := tls.Server(x, server), tls.Client(y, client)
		done := make(chan error, 1)
		go func() {
			err := s.Handshake()
			if err != nil {
				x.Close()
			} else {
				_, err = s.Write([]byte{1})
			}
			done <- err
		}()
		clientErr := c.Handshake()
		if clientErr == nil {
			_, clientErr = c.Read(make([]byte, 1))
		} else {
			y.Close()
		}
		return <-done, clientErr
	}
	if s, c := shake(end(dir, 0), end(dir, 1)); s != nil || c != nil {
		t.Errorf("two nodes of a cluster: %v, %v", s, c)
	}
	if s, _ := shake(end(dir, 0), end(other, 1)); !errors.Is(s, ErrUntrusted) {
		if s == nil {
			t.Error("a client of another authority is taken")
		}
	}
	if _, c := shake(end(other, 0), end(dir, 1)); !errors.Is(c, ErrUntrusted) {
		t.Errorf("a server of another authority: %v", c)
	}
	if s, c := shake(end(dir, 0), end(dir, 0)); s == nil && c == nil {
		t.Error("a node talks to itself")
	}
}
