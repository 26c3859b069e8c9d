package result

import (
	"fmt"
	"strings"
)

// Markdown is the report as text.
func (r *Report) Markdown() string {
	var b strings.Builder
	c := &r.Conditions
	fmt.Fprintf(&b, "# HealKV and others, domain %s\n\n", c.Domain)
	if r.Unfinished != "" {
		fmt.Fprintf(&b, "**Not run to its end: %s**\n\n", r.Unfinished)
	}
	for _, v := range r.Verdicts {
		word := "PASS"
		if !v.Passed {
			word = "MISSED"
		}
		fmt.Fprintf(&b, "- %s: %s\n", word, v.Text)
	}
	if len(r.Verdicts) == 0 {
		b.WriteString("- NOT JUDGED: no bound applies to what was measured\n")
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "- note: %s\n", n)
	}
	fmt.Fprintf(&b, "\n`%s`, %s: %d nodes on loopback, %s, %d cores, kernel %s, data on %s. Closed loop; %d keys, values of %d bytes; %g s a part after %g s of warming up, %d runs; median (least to most).\n\n",
		c.Command, c.Date, c.Nodes, c.Machine, c.Cores, c.Kernel, c.Storage, c.Keys, c.ValueBytes, c.Seconds, c.Warm, c.Runs)

	b.WriteString("| op | clients | system | /s | p50 ms | p99 ms | times etcd's /s | times etcd's p99 | errors | read back | disk before, fdatasync/s |\n|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, w := range r.Rows() {
		back := fmt.Sprintf("%d right", w.Checked)
		if w.Wrong > 0 {
			back = fmt.Sprintf("**%d of %d wrong**", w.Wrong, w.Checked)
		}
		if w.System == InNode {
			back = "-"
		}
		disk := "-"
		if w.Probe.Runs > 0 {
			disk = number(w.Probe, 1, 0)
		}
		times, p99 := "-", "-"
		if w.Times.Runs > 0 {
			times, p99 = number(w.Times, 1, 2), number(w.TimesP99, 1, 2)
		}
		fmt.Fprintf(&b, "| %s | %d | %s | %s | %s | %s | %s | %s | %d | %s | %s |\n", w.Op, w.Clients, w.System,
			number(w.Rate, 1, 0), number(w.P50, 1000, 2), number(w.P99, 1000, 2), times, p99, w.Errors, back, disk)
	}
	for _, w := range r.Rows() {
		if w.FirstError != "" {
			fmt.Fprintf(&b, "\nFirst error of %s, %s, %d clients: %s\n", w.System, w.Op, w.Clients, w.FirstError)
		}
	}
	if aways := r.Aways(); len(aways) > 0 {
		b.WriteString("\nA node that leads nobody is killed under load, misses writes, is started again; it is back when it itself reads the last write.\n\n" +
			"| system | writes missed | back after s | longest pause after the kill ms | writes/s before | without it | while it returns | read back there |\n|---|---|---|---|---|---|---|---|\n")
		for _, a := range aways {
			fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %d right, %d wrong |\n", a.System, number(a.Missed, 1, 0), number(a.Seconds, 1, 3), number(a.Pause, 1, 1),
				number(a.Before, 1, 0), number(a.Without, 1, 0), number(a.Returning, 1, 0), a.Checked-a.Wrong, a.Wrong)
		}
	}
	b.WriteString("\n| system | version | flush in force | its default | a write is answered when | reads | clients |\n|---|---|---|---|---|---|---|\n")
	for _, s := range r.Systems {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n", s.Name, s.Version, s.Flush, s.Default, s.Answered, s.Reads, s.Client)
	}
	return b.String()
}

// number shows a spread, divided by unit.
func number(s Spread, unit float64, digits int) string {
	text := fmt.Sprintf("%.*f", digits, s.Median/unit)
	if s.Runs > 1 {
		text += fmt.Sprintf(" (%.*f to %.*f)", digits, s.Least/unit, digits, s.Most/unit)
	}
	return text
}
