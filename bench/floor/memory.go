package floor

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"

	"healkv/pmem"
)

const (
	// A record of the usual size: header, 16-byte key, value of 150 bytes and
	// its timestamp.
	imageBytes = 64 + 16 + 158 + 2

	// Far beyond the caches, as a store is.
	areaBytes = 512 << 20
)

var memoryFloors = []floor{
	{"copy of a MiB", "GB/s", "memory to memory, both beyond the caches",
		func(_ context.Context, o *Options) (float64, error) { return copyBig(o) }},
	{"copy of a record", "ns", "240 bytes from the cache to the next place of a log beyond the caches",
		func(_ context.Context, o *Options) (float64, error) { return copyRecord(o) }},
	{"checksum of a record", "ns", "CRC-32C over 240 bytes in the cache",
		func(_ context.Context, o *Options) (float64, error) { return checksum(o), nil }},
	{"index probe", "ns", "a word at a random place of 512 MiB in pages as large as they are to be had, the next place known in advance",
		func(_ context.Context, o *Options) (float64, error) { return probe(o, false) }},
	{"index probe, then its record", "ns", "the same where the word says the next place: nothing to be fetched in advance",
		func(_ context.Context, o *Options) (float64, error) { return probe(o, true) }},
}

// mapped is memory of a file on tmpfs, as pools and indexes have it, all its
// pages there.
func mapped(o *Options, name string, bytes int64) (*pmem.Region, error) {
	dir, err := os.MkdirTemp(o.Memory, "healkv-floor-")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMissing, err)
	}
	defer os.RemoveAll(dir) // what is mapped stays
	r, err := pmem.MapRegion(filepath.Join(dir, name), bytes, pmem.DomainMemory, pmem.MapOptions{Create: true, Populate: true})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errMissing, err)
	}
	return r, nil
}

func copyBig(o *Options) (float64, error) {
	r, err := mapped(o, "copy", areaBytes)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	const piece = 1 << 20
	from, to := r.Bytes()[:areaBytes/2], r.Bytes()[areaBytes/2:]
	at := 0
	ns := perOperation(o, 1, func() {
		copy(to[at:at+piece], from[at:at+piece])
		at = (at + piece) % (areaBytes / 2)
	})
	return piece / ns, nil // bytes per ns are GB/s
}

func copyRecord(o *Options) (float64, error) {
	r, err := mapped(o, "log", areaBytes)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	log, image, at := r.Bytes(), make([]byte, imageBytes), 0
	return perOperation(o, 1000, func() {
		for range 1000 {
			copy(log[at:at+imageBytes], image)
			if at += imageBytes; at+imageBytes > len(log) {
				at = 0
			}
		}
	}), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func checksum(o *Options) float64 {
	image, sum := make([]byte, imageBytes), uint32(0)
	ns := perOperation(o, 1000, func() {
		for i := range 1000 {
			image[0] = byte(i)
			sum += crc32.Checksum(image, castagnoli)
		}
	})
	runtime.KeepAlive(sum) // what is computed for nothing must not be left out
	return ns
}

func probe(o *Options, dependent bool) (float64, error) {
	r, err := mapped(o, "index", areaBytes)
	if err != nil {
		return 0, err
	}
	defer r.Close()
	words, rng := r.Bytes(), rand.New(rand.NewPCG(1, 1))
	for i := 0; i < len(words); i += 64 {
		binary.LittleEndian.PutUint64(words[i:], rng.Uint64())
	}
	next, sum := uint64(1), uint64(0)
	ns := perOperation(o, 1000, func() {
		for range 1000 {
			next = next*6364136223846793005 + 1442695040888963407
			w := binary.LittleEndian.Uint64(words[next>>32%(areaBytes/64)*64:])
			if sum += w; dependent {
				next += w
			}
		}
	})
	runtime.KeepAlive(sum)
	return ns, nil
}
