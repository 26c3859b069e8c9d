package dataplane

import "os"

// ThreadName and the shard's number are the name of a worker's thread, as the
// kernel shows it.
const ThreadName = "hk-worker-"

// NameThread names the calling goroutine's thread; the goroutine is locked to
// it. 15 bytes of the name count. That it fails where proc(5) is not mounted
// costs only the name.
func NameThread(name string) { _ = os.WriteFile("/proc/thread-self/comm", []byte(name), 0) }
