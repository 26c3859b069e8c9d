package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
)

func get(t *testing.T, s *Server, path string) (int, string) {
	t.Helper()
	r, err := http.Get("http://" + s.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(body)
}

func TestEndpoints(t *testing.T) {
	var ready atomic.Bool
	source := Source{
		Status:  func() any { return map[string]any{"role": "joining", "node": 3} },
		Metrics: func() []Metric { return []Metric{{Name: "healkv_keys", Help: "keys", Kind: "gauge", Value: 7}} },
		Ready:   ready.Load,
		Extra: func(m *http.ServeMux) {
			m.HandleFunc("GET /extra", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "more") })
		},
		Log: slog.New(slog.DiscardHandler),
	}
	s, err := Listen("127.0.0.1:0", source)
	if err != nil {
		t.Fatal(err)
	}
	if code, _ := get(t, s, "/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("not ready: %d", code)
	}
	ready.Store(true)
	if code, _ := get(t, s, "/readyz"); code != http.StatusOK {
		t.Errorf("ready: %d", code)
	}
	if code, _ := get(t, s, "/healthz"); code != http.StatusOK {
		t.Errorf("healthz: %d", code)
	}
	_, body := get(t, s, "/status")
	var status struct{ Node int }
	if err := json.Unmarshal([]byte(body), &status); err != nil || status.Node != 3 {
		t.Errorf("status %q: %v", body, err)
	}
	if _, body = get(t, s, "/metrics"); !strings.Contains(body, "\nhealkv_keys 7\n") {
		t.Errorf("metrics %q", body)
	}
	if _, body = get(t, s, "/extra"); body != "more" {
		t.Errorf("extra %q", body)
	}
	for _, path := range []string{"/debug/pprof/", "/", "/statuses"} {
		if code, _ := get(t, s, path); code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, code)
		}
	}
	if _, err := Listen(s.Addr().String(), source); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("port in use: %v", err)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
	source.Pprof = true
	s, err = Listen(s.Addr().String(), source)
	if err != nil {
		t.Fatalf("the port is not free after Close: %v", err)
	}
	if code, _ := get(t, s, "/debug/pprof/cmdline"); code != http.StatusOK {
		t.Errorf("pprof asked for: %d", code)
	}
	if err := s.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

// Every line is a comment or a sample as Prometheus' grammar has it, and a
// family is not split.
func TestExpositionIsWellFormed(t *testing.T) {
	out := string(Exposition([]Metric{
		{Name: "a_total", Help: "counts\nthings \\ more", Kind: "counter", Value: 1e15, Labels: []Label{{"shard", "0"}}},
		{Name: "b", Help: "h", Kind: "gauge", Value: 0.25},
		{Name: "a_total", Help: "counts", Kind: "counter", Value: 3, Labels: []Label{{"shard", "1"}, {"why", "a \"b\"\n\\"}}},
	}))
	sample := regexp.MustCompile(`^[a-z_:][a-z0-9_:]*(\{([a-z_]+="([^"\\\n]|\\["\\n])*",?)+\})? [0-9.e+-]+$`)
	comment := regexp.MustCompile(`^# (HELP|TYPE) [a-z_]+ .+$`)
	lines := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for _, line := range lines {
		if !sample.MatchString(line) && !comment.MatchString(line) {
			t.Errorf("not of the format: %q", line)
		}
	}
	if len(lines) != 7 || strings.Count(out, "# TYPE a_total") != 1 || !strings.HasPrefix(lines[3], "a_total{") {
		t.Errorf("families are split:\n%s", out)
	}
	if name := MetricName("healkv", "Ring-full stalls", "total"); name != "healkv_ring_full_stalls_total" {
		t.Error(name)
	}
}
