package pmem

import (
	"errors"
	"sync"
	"sync/atomic"

	"healkv/dataplane/plant"
	"healkv/pmem/ckpt"
	"healkv/pmem/index"
)

// errImage: a page was copied that does not have its sum. Its locks are known to
// nobody else, so the node must stop; the next opening does not keep the index.
var errImage = errors.New("pmem: a page of the index was damaged while the node ran; the next start makes the index anew")

// ckptBuffers is how many pages the writer may have: 1 MiB.
const ckptBuffers = 64

// ckptWriter writes checkpoints on a goroutine of its own: the worker never
// waits for the file. Without files (inline) it writes at once.
type ckptWriter struct {
	inline bool
	jobs   chan ckptJob
	free   chan []byte
	scrap  []byte // of Layout.Write

	layout ckpt.Layout
	file   ckpt.File
	err    atomic.Pointer[error] // the first of a run; stored by the writer, loaded by the worker
	done   atomic.Bool           // the table is durable; as above
	ended  sync.WaitGroup
}

// ckptJob is a page, a table, or neither: a call to answer.
type ckptJob struct {
	slot   uint32
	sum    uint64
	image  []byte
	table  *ckpt.Table
	layout ckpt.Layout
	file   ckpt.File
	flush  bool
	tables *[]ckpt.Table // to be read
	answer chan struct{}
}

func newCkptWriter(inline bool) *ckptWriter {
	w := &ckptWriter{inline: inline, jobs: make(chan ckptJob, ckptBuffers+4), free: make(chan []byte, ckptBuffers)}
	if inline {
		w.free <- make([]byte, ckpt.PageBytes)
	}
	return w
}

// open makes the goroutine and its buffers with the first run.
func (w *ckptWriter) open() {
	if w.inline || w.scrap != nil {
		return
	}
	w.scrap = make([]byte, 0, 1<<16)
	for range ckptBuffers {
		w.free <- make([]byte, ckpt.PageBytes)
	}
	w.ended.Go(func() {
		for j := range w.jobs {
			w.do(&j)
		}
	})
}

func (w *ckptWriter) give(j ckptJob) {
	if w.inline {
		w.do(&j)
		return
	}
	w.jobs <- j // there are no more pages than buffers: it has room
}

// start begins a run. flush: what the file holds may not be on the media yet,
// and must be before anything is written over.
func (w *ckptWriter) start(l ckpt.Layout, f ckpt.File, flush bool) {
	w.open()
	w.reset()
	w.give(ckptJob{layout: l, file: f, flush: flush})
}

// reset forgets the last run. The writer has nothing to do.
func (w *ckptWriter) reset() {
	w.err.Store(nil)
	w.done.Store(false)
}

// read reads the tables of a file and closes done.
func (w *ckptWriter) read(l ckpt.Layout, f ckpt.File, tables *[]ckpt.Table, done chan struct{}) {
	w.open()
	w.give(ckptJob{layout: l, file: f, tables: tables, answer: done})
}

// buffer is room for an image, nil if the writer has all of it.
func (w *ckptWriter) buffer() []byte {
	select {
	case b := <-w.free:
		return b
	default:
		return nil
	}
}

func (w *ckptWriter) page(slot uint32, image []byte, sum uint64) {
	w.give(ckptJob{slot: slot, image: image, sum: sum})
}

func (w *ckptWriter) table(t *ckpt.Table) { w.give(ckptJob{table: t}) }

func (w *ckptWriter) written() bool { return w.done.Load() }

func (w *ckptWriter) failed() error {
	if e := w.err.Load(); e != nil {
		return *e
	}
	return nil
}

// sync waits until everything given was done.
func (w *ckptWriter) sync() {
	if w.inline || w.scrap == nil {
		return
	}
	answer := make(chan struct{})
	w.jobs <- ckptJob{answer: answer}
	<-answer
}

func (w *ckptWriter) close() {
	if !w.inline && w.scrap != nil {
		close(w.jobs)
		w.ended.Wait()
		w.scrap = nil
	}
}

func (w *ckptWriter) do(j *ckptJob) {
	var err error
	switch {
	case j.answer != nil:
		if j.tables != nil {
			*j.tables = j.layout.Read(j.file)
		}
		close(j.answer)
		return
	case j.file != nil:
		if w.layout, w.file = j.layout, j.file; j.flush {
			err = w.file.Sync()
		}
	case w.err.Load() != nil: // the run has failed
	case j.image != nil:
		if index.SumOf(j.image) != j.sum {
			err = errImage
		} else {
			err = w.layout.WritePage(w.file, j.slot, j.image)
		}
	case j.table != nil:
		err = w.writeTable(j.table)
	}
	if err != nil {
		w.err.CompareAndSwap(nil, &err)
	}
	if j.image != nil {
		w.free <- j.image
	}
}

func (w *ckptWriter) writeTable(t *ckpt.Table) (err error) {
	if !plant.Is(plant.CkptTableFirst) {
		if err = w.file.Sync(); err != nil {
			return err
		}
	}
	if w.scrap, err = w.layout.Write(w.file, t, w.scrap); err != nil {
		return err
	}
	if !plant.Is(plant.CkptUnsynced) {
		if err = w.file.Sync(); err != nil {
			return err
		}
	}
	w.done.Store(true)
	return nil
}
