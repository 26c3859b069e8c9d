package record

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

func sample(r *rand.Rand, keyLen, valueLen int) (Header, []byte, []byte) {
	key, value := make([]byte, keyLen), make([]byte, valueLen)
	for i := range key {
		key[i] = byte(r.Uint32())
	}
	for i := range value {
		value[i] = byte(r.Uint32())
	}
	h := Header{TS: r.Uint64(), Seq: r.Uint64(), Durable: r.Uint64(), Hash: r.Uint64(), OwnerIncarnation: r.Uint32(),
		Epoch: r.Uint32(), Scope: r.Uint32(), Flags: r.Uint32(), OwnerNode: uint8(r.Uint32()), Kind: Put}
	return h, key, value
}

func TestImageHoldsWhatWasEncoded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 0
	for _, kl := range []int{1, 2, 8, 15, 16, 17, 31, KeyBytesMax} {
		for _, vl := range []int{0, 1, 7, 16, 150, 4096, ValueBytesMax} {
			h, key, value := sample(r, kl, vl)
			img := bytes.Repeat([]byte{0xff}, Bytes(kl, vl)+16)
			seed := Seed(4096, 7)
			Encode(img, &h, key, value, seed)
			if len(img)-16 != h.Bytes() || h.Bytes()%Align != 0 {
				t.Fatalf("key %d value %d: image of %d bytes in %d", kl, vl, h.Bytes(), len(img)-16)
			}
			for i, b := range img[HeaderBytes+kl+vl:] {
				if want := HeaderBytes+kl+vl+i >= h.Bytes(); (b == 0xff) != want || b != 0xff && b != 0 {
					t.Fatalf("key %d value %d: padding byte %d is %#x", kl, vl, i, b)
				}
			}
			var g Header
			if err := VerifyHeader(img, seed, &g); err != nil || g != h {
				t.Fatalf("key %d value %d: %v, %+v, want %+v", kl, vl, err, g, h)
			}
			if err := VerifyBody(img, &g); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(Key(img), key) || !bytes.Equal(Value(img), value) || len(Body(img)) != kl+vl {
				t.Fatalf("key %d value %d: body differs", kl, vl)
			}
			if TS(img) != h.TS || Seq(img) != h.Seq || Durable(img) != h.Durable || Hash(img) != h.Hash ||
				OwnerIncarnation(img) != h.OwnerIncarnation || Epoch(img) != h.Epoch || Flags(img) != h.Flags ||
				Scope(img) != h.Scope || OwnerNode(img) != h.OwnerNode || KindOf(img) != h.Kind ||
				KeyLen(img) != kl || ValueLen(img) != vl || ImageBytes(img) != h.Bytes() {
				t.Fatal("an accessor differs from the header")
			}
			// The copy verifies at its own place and only there.
			dst := make([]byte, h.Bytes())
			c := g
			c.Seq, c.Flags = 99, FlagRelocated
			EncodeCopy(dst, &c, img, Seed(8192, 8))
			if err := VerifyHeader(dst, Seed(8192, 8), &g); err != nil || g != c {
				t.Fatalf("copy: %v %+v, want %+v", err, g, c)
			}
			if err := VerifyBody(dst, &g); err != nil {
				t.Fatal(err)
			}
			if err := VerifyHeader(dst, seed, &g); err != ErrHeader {
				t.Fatalf("copy under the source's seed: %v", err)
			}
			n++
		}
	}
	t.Logf("%d shapes", n)
}

// Every flip of one bit of header or body is noticed (C1).
func TestEveryFlippedBitIsNoticed(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	flips := 0
	for _, vl := range []int{0, 1, 150, 1000} {
		h, key, value := sample(r, 13, vl)
		img := make([]byte, Bytes(13, vl))
		seed := Seed(1<<33, 3)
		Encode(img, &h, key, value, seed)
		for bit := range (HeaderBytes + 13 + vl) * 8 {
			img[bit/8] ^= 1 << (bit % 8)
			var g Header
			if VerifyHeader(img, seed, &g) == nil && VerifyBody(img, &g) == nil {
				t.Fatalf("value %d: flipped bit %d not noticed", vl, bit)
			}
			img[bit/8] ^= 1 << (bit % 8)
			flips++
		}
		var g Header
		if VerifyHeader(img, seed, &g) != nil || VerifyBody(img, &g) != nil {
			t.Fatal("the restored image does not verify")
		}
	}
	t.Logf("%d flips", flips)
}

// A header verifies at no other position of its segment or of the same offset
// in later segments, nor in another incarnation (H14).
func TestSeedTellsPositionsAndLivesApart(t *testing.T) {
	const segment = 4 << 20
	seen := make(map[uint32]uint64)
	n := 0
	for seg := range uint64(64) {
		for off := uint64(64); off < 64<<10; off += Align {
			pos := seg*segment + off
			s := Seed(pos, 5)
			if was, ok := seen[s]; ok {
				t.Fatalf("positions %d and %d share a seed", was, pos)
			}
			seen[s] = pos
			if Seed(pos, 6) == s {
				t.Fatalf("position %d has one seed in two incarnations", pos)
			}
			n++
		}
	}
	t.Logf("%d positions", n)
}

func TestHeaderRefusesForeignShapes(t *testing.T) {
	cases := []struct {
		name   string
		change func(h *Header)
		want   error
	}{
		{"kind 0", func(h *Header) { h.Kind = 0 }, ErrKind},
		{"kind 5", func(h *Header) { h.Kind = 5 }, ErrKind},
		{"key too long", func(h *Header) { h.KeyLen = KeyBytesMax + 1 }, ErrLimit},
		{"value too long", func(h *Header) { h.ValueLen = ValueBytesMax + 1 }, ErrLimit},
		{"put without key", func(h *Header) { h.KeyLen = 0 }, ErrLimit},
		{"delete with value", func(h *Header) { h.Kind = Delete }, ErrLimit},
		{"image beyond the bytes", func(h *Header) { h.ValueLen = 4096 }, ErrShort},
		{"marker", func(h *Header) { h.Kind, h.KeyLen = Marker, 0 }, nil},
	}
	for _, c := range cases {
		h := Header{Kind: Put, KeyLen: 3, ValueLen: 5}
		c.change(&h)
		img := make([]byte, 128)
		putHeader(img, &h, 9)
		var g Header
		if err := VerifyHeader(img, 9, &g); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	var g Header
	for n := range HeaderBytes {
		if err := VerifyHeader(make([]byte, n), 0, &g); err != ErrShort {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	if err := VerifyBody(make([]byte, 64), &Header{KeyLen: 1}); err != ErrShort {
		t.Fatalf("body beyond the bytes: %v", err)
	}
	t.Logf("%d shapes, %d lengths", len(cases), HeaderBytes)
}

func TestBlankIsNoImage(t *testing.T) {
	blank := make([]byte, HeaderBytes)
	if !Blank(blank) {
		t.Fatal("zeroes are not blank")
	}
	for i := range blank {
		blank[i] = 1
		if Blank(blank) {
			t.Fatalf("byte %d not seen", i)
		}
		blank[i] = 0
	}
}

func FuzzVerify(f *testing.F) {
	r := rand.New(rand.NewPCG(5, 6))
	for _, vl := range []int{0, 5, 150} {
		h, key, value := sample(r, 8, vl)
		img := make([]byte, Bytes(8, vl))
		Encode(img, &h, key, value, Seed(64, 1))
		f.Add(img, uint64(64), uint32(1), false)
		f.Add(img, uint64(80), uint32(1), true)
	}
	f.Add([]byte{}, uint64(0), uint32(0), true)
	f.Fuzz(func(t *testing.T, b []byte, pos uint64, inc uint32, fix bool) {
		seed := Seed(pos, inc)
		if fix && len(b) >= HeaderBytes {
			// Past the checksum, so that the limits are reached too.
			b = bytes.Clone(b)
			c := headCRC(b, seed)
			b[0], b[1], b[2], b[3] = byte(c), byte(c>>8), byte(c>>16), byte(c>>24)
		}
		var h Header
		if VerifyHeader(b, seed, &h) != nil {
			return
		}
		if h.Bytes() > len(b) || h.Bytes() > BytesMax {
			t.Fatalf("accepted an image of %d bytes in %d", h.Bytes(), len(b))
		}
		if VerifyBody(b, &h) != nil {
			return
		}
		// What verifies encodes to the same bytes again.
		again := make([]byte, h.Bytes())
		g := h
		Encode(again, &g, Key(b), Value(b), seed)
		if g != h || !bytes.Equal(again[:HeaderBytes], b[:HeaderBytes]) || !bytes.Equal(Body(again), Body(b)) {
			t.Fatal("decoded and encoded again, the image differs")
		}
	})
}

func TestNothingAllocates(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	h, key, value := sample(r, 16, 150)
	img, dst := make([]byte, Bytes(16, 150)), make([]byte, Bytes(16, 150))
	pos := uint64(64)
	if n := testing.AllocsPerRun(100, func() {
		value[0]++
		pos += 256
		Encode(img, &h, key, value, Seed(pos, 1))
		if VerifyHeader(img, Seed(pos, 1), &h) != nil || VerifyBody(img, &h) != nil {
			t.Fatal("does not verify")
		}
		EncodeCopy(dst, &h, img, Seed(pos, 2))
		if VerifyHeader(dst, 0, &h) != ErrHeader {
			t.Fatal("verifies under seed 0")
		}
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}

// Estimates: encode 55 ns (two CRCs of 60 and 166 bytes ~15 ns, copies, fields),
// copy 35 ns, verify 25 ns.
func BenchmarkEncode(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	h, key, value := sample(r, 16, 150)
	img := make([]byte, Bytes(16, 150))
	b.ReportAllocs()
	b.SetBytes(int64(len(img)))
	for i := range b.N {
		h.Seq = uint64(i)
		Encode(img, &h, key, value, Seed(uint64(i)<<4, 1))
	}
}

func BenchmarkEncodeCopy(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	h, key, value := sample(r, 16, 150)
	img, dst := make([]byte, Bytes(16, 150)), make([]byte, Bytes(16, 150))
	Encode(img, &h, key, value, 1)
	b.ReportAllocs()
	b.SetBytes(int64(len(img)))
	for i := range b.N {
		h.Seq = uint64(i)
		EncodeCopy(dst, &h, img, Seed(uint64(i)<<4, 1))
	}
}

func BenchmarkVerify(b *testing.B) {
	r := rand.New(rand.NewPCG(9, 10))
	h, key, value := sample(r, 16, 150)
	img := make([]byte, Bytes(16, 150))
	Encode(img, &h, key, value, 1)
	b.ReportAllocs()
	b.SetBytes(int64(len(img)))
	for range b.N {
		if VerifyHeader(img, 1, &h) != nil || VerifyBody(img, &h) != nil {
			b.Fatal("does not verify")
		}
	}
}
