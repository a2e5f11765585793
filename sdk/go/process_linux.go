package metrickit

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"syscall"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

const (
	// ticksPerSecond is USER_HZ, which is 100 on every platform of Go.
	ticksPerSecond = 100
	// openFilesMax is how many open files are counted one by one, which older
	// kernels make necessary.
	openFilesMax = 100_000
	infinite     = ^uint64(0)
)

// systemStartMs reads when the kernel says that the process started.
func systemStartMs() (int64, bool) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, false
	}
	_, after, found := bytes.Cut(stat, []byte("\nbtime "))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	boot, err := strconv.ParseInt(string(line), 10, 64)
	fields := statFields()
	if !found || err != nil || len(fields) < 22 {
		return 0, false
	}
	ticks, err := strconv.ParseInt(string(fields[21]), 10, 64)
	return boot*1000 + ticks*1000/ticksPerSecond, err == nil
}

// statFields are the fields of /proc/self/stat, counted from 0 where proc(5)
// counts from 1. The name of the program, which can hold spaces and
// parentheses, is cut out.
func statFields() [][]byte {
	stat, err := os.ReadFile("/proc/self/stat")
	end := bytes.LastIndexByte(stat, ')')
	if err != nil || end < 0 {
		return nil
	}
	return append([][]byte{nil, nil}, bytes.Fields(stat[end+1:])...)
}

func readProcess(into []processReading) []processReading {
	add := func(name, help string, kind remotewrite.Kind, value float64) {
		into = append(into, processReading{name, help, kind, value})
	}
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) == nil {
		seconds := float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
		add("cpu_seconds_total", "Processor time, user and system.", remotewrite.Counter, seconds)
	}
	fields := statFields()
	number := func(at int) (float64, bool) {
		if at >= len(fields) {
			return 0, false
		}
		value, err := strconv.ParseUint(string(fields[at]), 10, 64)
		return float64(value), err == nil
	}
	if threads, ok := number(19); ok {
		add("threads", "Threads of the operating system.", remotewrite.Gauge, threads)
	}
	if bytes, ok := number(22); ok {
		add("virtual_memory_bytes", "Bytes of address space.", remotewrite.Gauge, bytes)
	}
	if pages, ok := number(23); ok {
		add("resident_memory_bytes", "Bytes of resident memory.", remotewrite.Gauge, pages*float64(os.Getpagesize()))
	}
	if open, ok := openFiles(); ok {
		add("open_fds", "Open file descriptors.", remotewrite.Gauge, float64(open))
	}
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) == nil && limit.Cur != infinite {
		add("max_fds", "Most file descriptors that may be open.", remotewrite.Gauge, float64(limit.Cur))
	}
	return into
}

// openFiles counts the open files. Linux 6.2 and later tell their number as
// the size of the folder.
func openFiles() (int, bool) {
	folder, err := os.Open("/proc/self/fd")
	if err != nil {
		return 0, false
	}
	defer folder.Close()
	if info, err := folder.Stat(); err == nil && info.Size() > 0 {
		return int(info.Size()) - 1, true
	}
	count := 0
	for count < openFilesMax {
		names, err := folder.Readdirnames(1024)
		count += len(names)
		if err == io.EOF {
			// Without the folder itself.
			return count - 1, true
		}
		if err != nil {
			return 0, false
		}
	}
	return 0, false
}
