package config

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// complete is a configuration in which every key is allowed.
func complete() Config {
	c := Default()
	c.ClusterID = "000102030405060708090a0b0c0d0e0f"
	c.Nodes = 6
	c.RunDir = "/dev/shm/healkv-00010203-0"
	c.IndexDir = "/dev/shm/healkv-00010203-0/m/index-0"
	c.Resp.Password = `a "quoted" \ secret`
	return c
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "node.toml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestWrittenFileReadsBack(t *testing.T) {
	want := complete()
	want.Resp.Socket = "clients"
	path := file(t, Text(&want))
	s := New()
	if err := s.File(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path) // relative directories are relative to the file
	want.PoolDir, want.StateDir = filepath.Join(dir, "pool"), filepath.Join(dir, "state")
	want.Resp.Socket = filepath.Join(dir, "clients")
	if s.Config != want {
		t.Fatalf("read back\n%+v\nwant\n%+v", s.Config, want)
	}
	for i := range Keys {
		if s.Origin(Keys[i].Name) != path {
			t.Errorf("%s: origin %q", Keys[i].Name, s.Origin(Keys[i].Name))
		}
	}
	t.Logf("%d keys written and read back", len(Keys))
}

func TestFileErrorsNameFileLineAndKey(t *testing.T) {
	cases := []struct{ text, want string }{
		{"node = 0\n\npool_sise = \"1GiB\"\n", `node.toml:3: unknown key "pool_sise"; did you mean "pool_size"?`},
		{"[resp]\nlisen = \"x\"\n", `node.toml:2: unknown key "resp.lisen"; did you mean "resp.listen"?`},
		{"[wholly]\nunrelated = 1\n", "unknown key \"wholly\""},
		{"node = \"x\"\n", "node.toml:1: "},
		{"pool_size = 512\n", "pool_size = 512 is not allowed: write it in quotes"},
		{"pool_size = \"512MB\"\n", "not a size"},
		{"lease = \"soon\"\n", "not a duration"},
		{"node = 1\nnode = 2\n", "node.toml:2"},
		{"node = \n", "node.toml:1: "},
	}
	for _, c := range cases {
		err := New().File(file(t, c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v; want one line with %q", c.text, err, c.want)
		}
	}
	if err := New().File(filepath.Join(t.TempDir(), "none.toml")); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("missing file: %v", err)
	}
}

func TestFlagBeatsEnvironmentBeatsFile(t *testing.T) {
	c := complete()
	c.PoolSize, c.Model, c.Log.Level = 128*MiB, "strict", "warn"
	s := New()
	fs := flag.NewFlagSet("t", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	s.AddFlags(fs, nil)
	if err := fs.Parse([]string{"--pool-size", "1GiB", "--admin-pprof"}); err != nil {
		t.Fatal(err)
	}
	if err := s.File(file(t, Text(&c))); err != nil {
		t.Fatal(err)
	}
	if err := s.Env([]string{"HEALKV_POOL_SIZE=256MiB", "HEALKV_MODEL=scope", "HOME=/root", "HEALKV_TEST_X=1", "HEALKV_TALLY=/dev/null", "HEALKV_PLANT="}); err != nil {
		t.Fatal(err)
	}
	if err := s.Flags(); err != nil {
		t.Fatal(err)
	}
	got := s.Config
	if got.PoolSize != GiB || got.Model != "scope" || got.Log.Level != "warn" || !got.Admin.Pprof {
		t.Fatalf("got %v %s %s pprof=%v", got.PoolSize, got.Model, got.Log.Level, got.Admin.Pprof)
	}
	if !s.Given("pool_size") || !s.Given("model") || s.Given("log.level") {
		t.Error("Given is wrong about where values came from")
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := s.Env([]string{"HEALKV_POOLSIZE=1GiB"}); err == nil || !strings.Contains(err.Error(), "HEALKV_POOLSIZE") {
		t.Errorf("unknown variable: %v", err)
	}
	if err := s.Env([]string{"HEALKV_NODES=many"}); err == nil || !strings.Contains(err.Error(), "environment HEALKV_NODES") {
		t.Errorf("bad variable: %v", err)
	}
	fs = flag.NewFlagSet("t", flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	New().AddFlags(fs, nil)
	if err := fs.Parse([]string{"--lease", "x"}); err == nil || !strings.Contains(err.Error(), "allowed: 100ms to 60s") {
		t.Errorf("bad flag: %v", err)
	}
}

// Every key with a check refuses something, and says key, value and range.
func TestEveryKeyIsChecked(t *testing.T) {
	bad := map[string][]string{
		"cluster_id": {"", "00", strings.Repeat("g", 32)}, "node": {"-1", "6"}, "nodes": {"0", "17"},
		"model": {"synchronos", ""}, "shards": {"0", "65"}, "provider": {"rdma", ""},
		"run_dir": {"", "/" + strings.Repeat("x", 70)}, "ring_size": {"1MiB", "5MiB", "2GiB"}, "spin": {"11ms"},
		"lease": {"99ms", "auto", "2m"}, "drift": {"0s", "800ms"}, "slow": {"99ms", "3100ms", "1m"}, "domain": {"disk"},
		"pool_dir": {""}, "index_dir": {""}, "state_dir": {""},
		"pool_size": {"0B", "63MiB", "17TiB"}, "segment_size": {"1MiB", "3MiB", "128MiB", "2GiB"}, "max_keys": {"-1"}, "checkpoint_bytes": {"1KiB", "17GiB"},
		"huge_pages": {"yes"}, "recovery": {"none"}, "recovery_budget": {"1KiB"}, "recovery_floor": {"1KiB", "1GiB"}, "digest_interval": {"1ms", "25h"}, "scrub_bytes_per_second": {"1KiB", "5GiB"}, "bootstrap_wait": {"1ms", "2h"}, "stop_timeout": {"0s", "1h"}, "drain_grace": {"2m"},
		"resp.listen": {"", "7000", "127.0.0.1:0", "127.0.0.1:70000"}, "resp.socket": {"/" + strings.Repeat("x", 107)}, "resp.password": {strings.Repeat("x", 513)},
		"control.listen": {"127.0.0.1:7200"}, "control.peers": {"127.0.0.1:7200"}, "tls.ca": {"ca.pem"}, "tls.cert": {"cert.pem"}, "tls.key": {"key.pem"},
		"data.listen": {"127.0.0.1"}, "data.tls": {"yes"}, "verbs.port": {"-1", "256"}, "verbs.gid_index": {"-2", "256"}, "verbs.mtu": {"1500"}, "verbs.traffic_class": {"256"},
		"admin.listen": {"0.0.0.0:7100", "7100"}, "log.level": {"loud"},
	}
	tried := 0
	for i := range Keys {
		k := &Keys[i]
		if k.check == nil {
			continue
		}
		if len(bad[k.Name]) == 0 {
			t.Errorf("%s: no bad value is tried", k.Name)
		}
		for _, text := range bad[k.Name] {
			s := New()
			s.Config = complete()
			if err := k.Set(&s.Config, text); err != nil {
				t.Fatalf("%s = %q: %v", k.Name, text, err)
			}
			err := s.Validate()
			if err == nil {
				t.Errorf("%s = %q is accepted", k.Name, text)
				continue
			}
			// A bad segment size may show as a pool with too few segments.
			for _, part := range []string{k.Name + " = ", "want "} {
				if !strings.Contains(err.Error(), part) && k.Name != "segment_size" && k.Name != "nodes" && k.Name != "shards" {
					t.Errorf("%s = %q: %v: lacks %q", k.Name, text, err, part)
				}
			}
			if k.Secret && strings.Contains(err.Error(), text) {
				t.Errorf("%s: the message shows the secret", k.Name)
			}
			tried++
		}
	}
	t.Logf("%d bad values refused over %d keys", tried, len(Keys))
}

// overTCP is a complete configuration of a node of a network.
func overTCP() Config {
	c := complete()
	c.Provider, c.RunDir, c.Nodes = "tcp", "", 3
	c.Control = Control{Listen: "10.0.0.1:7200", Peers: "10.0.0.1:7200, host-b:7200,[fd00::3]:7200"}
	c.TLS = TLS{CA: "tls/ca.pem", Cert: "tls/cert.pem", Key: "/etc/key.pem"}
	c.Data.Listen = "10.0.0.1:7300"
	return c
}

func TestNetworkIsCheckedForProvidersBetweenHosts(t *testing.T) {
	want := overTCP()
	path := file(t, Text(&want))
	s := New()
	if err := s.File(path); err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	if c := s.Config.TLS; c != (TLS{dir + "/tls/ca.pem", dir + "/tls/cert.pem", "/etc/key.pem"}) || s.Config.RunDir != "" {
		t.Errorf("files %+v, run directory %q", c, s.Config.RunDir)
	}
	if list := s.Config.Control.PeerList(); len(list) != 3 || list[1] != "host-b:7200" {
		t.Errorf("peers %q", list)
	}
	tried := 0
	for name, bad := range map[string][]string{
		"control.listen": {"", "7200", "10.0.0.1", "10.0.0.1:0"},
		"control.peers":  {"", "a:1,b:1", "a:1,b:1,c:1,d:1", "a:1,b:1,c"},
		"tls.ca":         {""}, "tls.cert": {""}, "tls.key": {""},
		"data.listen": {"0.0.0.0", "[::]:7300", ":7300", "a:70000", "a b"},
	} {
		for _, text := range bad {
			s := New()
			s.Config = overTCP()
			if err := Lookup(name).Set(&s.Config, text); err != nil {
				t.Fatal(err)
			}
			if err := s.Validate(); err == nil || !strings.Contains(err.Error(), name+" = ") {
				t.Errorf("%s = %q: %v", name, text, err)
			}
			tried++
		}
	}
	t.Logf("%d bad values refused", tried)
}

func TestDataConnectionsAreEncryptedBeyondLoopback(t *testing.T) {
	for _, c := range []struct {
		provider, listen, control, tls string
		want                           bool
	}{
		{"tcp", "127.0.0.1:7300", "10.0.0.1:7200", "auto", false}, {"tcp", "127.0.0.1", "127.0.0.1:7200", "auto", false},
		{"tcp", "10.0.0.1:7300", "10.0.0.1:7200", "auto", true}, {"tcp", "10.0.0.1", "127.0.0.1:7200", "auto", true},
		{"tcp", "", "127.0.0.1:7200", "auto", false}, {"tcp", "", "10.0.0.1:7200", "auto", true}, {"tcp", "host", "10.0.0.1:7200", "auto", true},
		{"tcp", "10.0.0.1", "10.0.0.1:7200", "off", false}, {"tcp", "127.0.0.1", "127.0.0.1:7200", "on", true},
		{"shm", "", "", "auto", false}, {"verbs", "", "10.0.0.1:7200", "auto", false},
	} {
		x := Config{Provider: c.provider, Data: Data{c.listen, c.tls}, Control: Control{Listen: c.control}}
		if x.DataTLS() != c.want {
			t.Errorf("%+v: %v", c, x.DataTLS())
		}
	}
}

func TestPasswordIsNeededBeyondLoopback(t *testing.T) {
	s := New()
	s.Config = complete()
	s.Config.Resp = Resp{Listen: "0.0.0.0:7000"}
	if err := s.Validate(); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("open to the network without a password: %v", err)
	}
	s.Config.Resp.Password = "x"
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	c := complete()
	path := file(t, Text(&c))
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := New().File(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("password in a file that all can read: %v", err)
	}
}

func TestSizesAndDurations(t *testing.T) {
	for text, want := range map[string]Size{"0B": 0, "17B": 17, "64 KiB": 64 * KiB, "512MiB": 512 * MiB, "3TiB": 3 * TiB} {
		if got, err := ParseSize(text); err != nil || got != want {
			t.Errorf("%q = %d, %v", text, got, err)
		}
		if again, err := ParseSize(want.String()); err != nil || again != want {
			t.Errorf("%d written as %q", want, want.String())
		}
	}
	for _, text := range []string{"", "MiB", "1", "1.5GiB", "-1KiB", "1MB", "9999999999TiB", "1KiBB"} {
		if got, err := ParseSize(text); err == nil {
			t.Errorf("%q is accepted as %d", text, got)
		}
	}
	var d Duration
	if err := d.Set("auto"); err != nil || d != Auto || d.String() != "auto" {
		t.Errorf("auto: %v %v", d, err)
	}
	if err := d.Set("50us"); err != nil || d != Duration(50*time.Microsecond) || d.String() != "50µs" {
		t.Errorf("50us: %v %v", d, err)
	}
}

// Whatever the file holds: an error or a configuration, no panic; and what was
// read can be written and read again.
func FuzzFile(f *testing.F) {
	c := complete()
	f.Add(Text(&c))
	f.Add("pool_size = \"1\"")
	f.Add("[resp]\nlisten=3")
	f.Fuzz(func(t *testing.T, text string) {
		c := Default()
		if Decode("f", []byte(text), &c) != nil {
			return
		}
		again := Default()
		if err := Decode("f", []byte(Text(&c)), &again); err != nil || again != c {
			t.Fatalf("%v\n%+v\n%+v", err, c, again)
		}
	})
}

// TestDriftFollowsTheLease: who chooses a lease and no drift, nor from when on a
// node is slow, gets those that fit.
func TestDriftFollowsTheLease(t *testing.T) {
	for lease, want := range map[string]Duration{"100ms": Duration(10 * time.Millisecond), "1s": Duration(100 * time.Millisecond), "20s": Duration(2 * time.Second)} {
		s := New()
		if err := s.Env([]string{"HEALKV_LEASE=" + lease}); err != nil {
			t.Fatal(err)
		}
		if s.Config.Drift != want {
			t.Errorf("lease %s: drift %v, want %v", lease, s.Config.Drift, want)
		}
		if want := max(5*want, Duration(500*time.Millisecond)); s.Config.Slow != want {
			t.Errorf("lease %s: slow from %v on, want %v", lease, s.Config.Slow, want)
		}
	}
	s := New()
	if err := s.Env([]string{"HEALKV_LEASE=1s", "HEALKV_DRIFT=250ms"}); err != nil {
		t.Fatal(err)
	}
	if s.Config.Drift != Duration(250*time.Millisecond) {
		t.Errorf("a drift that was given became %v", s.Config.Drift)
	}
}
