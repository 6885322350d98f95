package main

// O1, O1b, O1c.

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// Opens and gets the record in the middle; the figure is the time of both. What was measured
// besides is told by more, before the store is closed.
func (t *task) opened(more func() error) error {
	key := make([]byte, keyLen)
	putKey(key, uint64(t.records/2))
	start := time.Now()
	s, err := t.open()
	if err != nil {
		return err
	}
	there, err := s.get(key, touch)
	took := time.Since(start)
	if err != nil {
		return err
	}
	if !there {
		return fmt.Errorf("%s, stored before the close, is missing", key)
	}
	if err := figure("open_ms", ms(took)); err != nil {
		return err
	}
	if err := more(); err != nil {
		return err
	}
	return s.close()
}

// Also what the process then has in memory.
func afterClose(t *task) error {
	before, err := memoryNow()
	if err != nil {
		return err
	}
	return t.opened(func() error {
		now, err := memoryNow()
		if err != nil {
			return err
		}
		heap := grown(now.anonymous, before.anonymous)
		return figure("heap_bytes_per_key", heap/float64(t.records))
	})
}

// When nothing of its files is in memory; also what was read of them from the disk.
func cold(t *task) error {
	before, err := readFromDisk()
	if err != nil {
		return err
	}
	return t.opened(func() error {
		now, err := readFromDisk()
		if err != nil {
			return err
		}
		if now == before {
			return errors.New("nothing came from the disk: the files were still in memory")
		}
		return figure("read_mib", float64(now-before)/(1<<20))
	})
}

// Puts, and says after each 64th that it has returned, until somebody kills it.
func untilKilled(t *task) error {
	order := shuffled(t.records)
	order = order[:min(t.ops, len(order))]
	keys := keysOf(order)
	values := makeValues(t.valueLen)
	s, err := t.open()
	if err != nil {
		return err
	}
	line := []byte(`{"acked":`)
	for i, record := range order {
		if err := s.put(keys.at(i), values.of(uint64(record), 0)); err != nil {
			return err
		}
		if done := i + 1; done%64 == 0 {
			said := strconv.AppendInt(line, int64(done), 10)
			if _, err := os.Stdout.Write(append(said, "}\n"...)); err != nil {
				return err
			}
		}
	}
	return errors.New("nobody killed the writer")
}

// Opens what the killed process left, gets a record, then looks for all that had returned. What is
// there has to be what was put.
func afterKill(t *task) error {
	if t.acked == 0 {
		return errors.New("--acked: nothing was acknowledged, so nothing can be looked for")
	}
	order := shuffled(t.records)[:t.acked]
	keys := keysOf(order)
	values := makeValues(t.valueLen)
	start := time.Now()
	s, err := t.open()
	if err != nil {
		return err
	}
	_, err = s.get(keys.at(0), touch)
	took := time.Since(start)
	if err != nil {
		return err
	}
	found := 0
	for i, record := range order {
		same := sameAs(values.of(uint64(record), 0), uint64(record))
		there, err := s.get(keys.at(i), same)
		if err != nil {
			return err
		}
		if there {
			found++
		}
	}
	if err := figure("open_ms", ms(took)); err != nil {
		return err
	}
	if err := figure("lost_share", 1-float64(found)/float64(t.acked)); err != nil {
		return err
	}
	return s.close()
}
