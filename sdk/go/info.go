package metrickit

import (
	"os"
	"runtime"
	"runtime/debug"
	"sort"
	"strconv"

	"github.com/metrickit/metrickit/sdk/go/internal/remotewrite"
)

// infoSource tells which program this is: what changes with every process or
// build is on this series alone, to be joined where it is needed.
type infoSource struct {
	process []label
}

// newInfoSource reads the build information once. Labels are those that the
// agent gives the processes it discovers.
func newInfoSource() *infoSource {
	found := map[string]string{
		"name":       executableName(),
		"pid":        strconv.Itoa(os.Getpid()),
		"go_version": runtime.Version(),
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		found["path"], found["module"], found["version"] = build.Path, build.Main.Path, build.Main.Version
		for _, setting := range build.Settings {
			switch setting.Key {
			case "vcs.revision":
				found["revision"] = setting.Value
			case "vcs.modified":
				found["modified"] = setting.Value
			}
		}
	}
	var process []label
	for name, value := range found {
		process = append(process, label{name, cleanValue(value)})
	}
	sort.Slice(process, func(a, b int) bool { return process[a].name < process[b].name })
	return &infoSource{process: process}
}

func (s *infoSource) write(b *batch) {
	b.metric("go_info", "The Go toolchain; always 1.", remotewrite.Gauge)
	b.value([]label{{"version", cleanValue(runtime.Version())}}, 1, 0)
	b.metric("metrickit_go_process_info", "The program, its build and its process; always 1.", remotewrite.Info)
	b.value(s.process, 1, 0)
}
