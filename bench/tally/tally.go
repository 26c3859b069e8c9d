// Package tally collects what checks have counted, for the summary that
// `make verify` prints: seeds, operations, faults, states, planted bugs found.
// Counts go as JSON lines into the file that HEALKV_TALLY names; without it
// nothing is written.
package tally

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"sync"
)

// Variable is the environment variable that names the file.
const Variable = "HEALKV_TALLY"

// Line is one count. Must counts of zero fail the summary.
type Line struct {
	Group string `json:"group"`
	Name  string `json:"name"`
	Count int64  `json:"count"`
	Mark  bool   `json:"mark,omitempty"` // a rare branch: shown in the marks table
	Skip  string `json:"skip,omitempty"` // a check that did not run, and why
}

var mu sync.Mutex

// Add counts n of name in a group such as "simulation" or "explorer". Counts
// of one name are added up over all tests of a run.
func Add[N ~int | ~int64 | ~uint64](group, name string, n N) {
	write(Line{Group: group, Name: name, Count: int64(n)})
}

// Mark counts a rare branch that was taken n times.
func Mark[N ~int | ~int64 | ~uint64](group, name string, n N) {
	write(Line{Group: group, Name: name, Count: int64(n), Mark: true})
}

// Skipped notes a check that did not run for want of a feature.
func Skipped(group, name, missing string) {
	write(Line{Group: group, Name: name, Skip: missing})
}

func write(l Line) {
	path := os.Getenv(Variable)
	if path == "" {
		return
	}
	b, err := json.Marshal(l)
	if err != nil {
		panic(err) // only strings and numbers
	}
	mu.Lock()
	defer mu.Unlock()
	// One write of less than a page with O_APPEND is not torn by other processes.
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(append(b, '\n'))
		err = firstOf(err, f.Close())
	}
	if err != nil {
		panic(fmt.Sprintf("tally: %v", err))
	}
}

func firstOf(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// Read gives the lines of a file.
func Read(path string) ([]Line, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var lines []Line
	in := bufio.NewScanner(f)
	for in.Scan() {
		var l Line
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return nil, fmt.Errorf("tally: %s: %w", path, err)
		}
		lines = append(lines, l)
	}
	return lines, in.Err()
}
