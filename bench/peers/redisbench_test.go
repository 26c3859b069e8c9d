package main

import (
	"errors"
	"strings"
	"testing"

	"healkv/bench/peers/result"
	"healkv/bench/peers/servers"
)

func TestBenchFlags(t *testing.T) {
	o, err := parseBench([]string{"--runs", "2", "--pipelines", "1,8"})
	if err != nil || o.runs != 2 || len(o.pipelines) != 2 || o.pipelines[1] != 8 || !o.judge {
		t.Errorf("%+v %v", o, err)
	}
	for _, bad := range []string{"--runs 0", "--pipelines 0", "--pipelines 1,,2", "--clients 0", "--value 0", "--nosuch", "more"} {
		if _, err := parseBench(strings.Fields(bad)); !errors.Is(err, errUsage) {
			t.Errorf("%s: %v, want %v", bad, err, errUsage)
		}
	}
}

func TestParseCSV(t *testing.T) {
	const text = `"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms","max_latency_ms"
"SET","132743.36","0.240","0.088","0.183","0.447","0.679","2.047"
`
	p, err := parseCSV([]byte(text), "SET")
	if err != nil || p.Rate != 132743.36 || p.P50 != 0.183 || p.P99 != 0.679 {
		t.Errorf("%+v %v", p, err)
	}
	for _, bad := range []string{"", "Could not connect", text[:40]} {
		if _, err := parseCSV([]byte(bad), "SET"); err == nil {
			t.Errorf("%q is taken for a table", bad)
		}
	}
	if _, err := parseCSV([]byte(text), "GET"); err == nil {
		t.Error("a line that is not there is found")
	}
}

func TestJudgeBench(t *testing.T) {
	part := func(server, op string, rate float64) benchPart {
		return benchPart{Server: server, Op: op, Pipeline: 1, Rate: rate}
	}
	parts := []benchPart{part(servers.RedisAlone, "GET", 100), part("healkv", "GET", 89), part(servers.RedisAlone, "SET", 100), part("healkv", "SET", 51),
		part(servers.RedisAlone, "SET", 110), part("healkv", "SET", 60), part(servers.RedisAlone, "SET", 90), part("healkv", "SET", 20)}
	text, verdicts := judgeBench(parts, []int{1})
	missed := textsOfMissed(verdicts)
	if len(missed) != 1 || !strings.HasPrefix(missed[0], "GET -P 1: healkv 89/s, redis alone 100/s: 0.89 times") {
		t.Errorf("missed: %q", missed)
	}
	if !strings.Contains(text, "| SET -P 1 | 100 (90 to 110) | 51 (20 to 60) | 0.51 | 0.50 | 0.70 | PASS |") {
		t.Error(text)
	}
	if len(verdicts) != 2 || !verdicts[1].Passed {
		t.Errorf("%+v", verdicts)
	}
	_, verdicts = judgeBench(parts, []int{1, 16})
	if missed := textsOfMissed(verdicts); len(missed) != 3 {
		t.Errorf("what was not measured passes: %q", missed)
	}
}

func textsOfMissed(verdicts []result.Verdict) (missed []string) {
	for _, v := range verdicts {
		if !v.Passed {
			missed = append(missed, v.Text)
		}
	}
	return missed
}
