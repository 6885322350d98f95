package main

// What is measured, by the names of the tables. README.md of the folder above says what each does.

import "time"

// What this process was asked to do.
type task struct {
	workload string
	dir      string
	sync     bool
	records  int
	valueLen int
	threads  int
	ops      int
	// How long nothing may change on disk for the store to count as idle.
	settle time.Duration
	// O1b: how many puts the killed process is known to have acknowledged.
	acked int
}

var workloads = map[string]func(*task) error{
	"W1":        putsInOrder,
	"W1b":       putsInBatchesInOrder,
	"W2b":       putsInBatchesAtRandom,
	"W3":        putsAtRandom,
	"W3b":       putsAtRandom,
	"O1b-write": untilKilled,
	"O1b":       afterKill,
	"MEM":       memoryOfLoading,
	"S1":        onDisk,
	"L1":        besideReader,
	"W2":        putsAtRandom,
	"O1":        afterClose,
	"O1c":       cold,
	"CP":        compacting,
	"R1":        uniformGets,
	"R1x2":      uniformGets,
	"R1z":       zipfianGets,
	"R1zx2":     zipfianGets,
	"R2":        missingGets,
	"R2x2":      missingGets,
	"R3":        listValues,
	"R3b":       listKeys,
	"R3c":       shortScans,
	"M1":        popular(5, 50, put),
	"M1x2":      popular(5, 50, put),
	"M2":        popular(6, 95, put),
	"M2x2":      popular(6, 95, put),
	"MC":        popular(7, 100, put),
	"MD":        getsOfLatest,
	"M3":        popular(8, 50, getAndPut),
	"M3x2":      popular(8, 50, getAndPut),
	"ME":        scansAndInserts,
	"D1":        deleteKind,
}

func (t *task) open() (*store, error) {
	return openStore(t.dir, t.sync)
}

// Opens the store, does something with it and closes it. If that fails, the store is left as it is:
// the process ends.
func (t *task) with(work func(s *store) error) error {
	s, err := t.open()
	if err == nil {
		err = work(s)
	}
	if err == nil {
		err = s.close()
	}
	return err
}

// The same when the store has been read once: a pass over all records, and a tenth of them at
// random, bring caches and mappings in.
func (t *task) withWarm(work func(s *store) error) error {
	random := newStream(9, 0)
	some := makeKeys(t.records/10, func(i int) uint64 { return random.record(i, t.records) })
	return t.with(func(s *store) error {
		for _, kind := range kindPrefixes() {
			if _, err := s.scan(kind, all, touch); err != nil {
				return err
			}
		}
		for i := 0; i < some.len(); i++ {
			if _, err := s.get(some.at(i), touch); err != nil {
				return err
			}
		}
		return work(s)
	})
}
