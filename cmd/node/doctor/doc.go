// Package doctor looks at a host and says what HealKV can do on it: RDMA
// devices, locked memory, huge pages, persistent memory, processors, eBPF; and
// for everything that is missing, what to do about it.
//
// It reads files below /proc and /sys and asks the kernel; it changes nothing
// but a file of its own in a directory whose durability domain is asked for,
// which it removes. It needs neither privileges nor libibverbs.
//
// What is looked at comes through Host, so that tests have hosts of their own.
package doctor

// State of a check.
type State string

const (
	OK   State = "ok"
	Gap  State = "gap"  // HealKV runs, something it could use is not there
	Fail State = "fail" // what was asked for cannot be had
)

// Check is one thing that was looked at.
type Check struct {
	Area   string `json:"area"` // rdma, memory, storage, processor, kernel
	Name   string `json:"name"`
	State  State  `json:"state"`
	Found  string `json:"found"`
	Advice string `json:"advice,omitempty"` // what to do, where State is not OK
}
