// Renders a chart with Go's templates and sprig, for machines without helm:
//
//	GO111MODULE=off GOPATH=/usr/share/gocode go run render_chart.go CHART RELEASE [VALUES.yaml]
//
// It knows .Values, .Release, .Chart, include, toYaml, required and fail: what our chart uses.
package main

import (
	"bytes"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

func readYaml(path string) map[string]interface{} {
	text, err := os.ReadFile(path)
	if err != nil {
		log.Fatal(err)
	}
	values := map[string]interface{}{}
	if err := yaml.Unmarshal(text, &values); err != nil {
		log.Fatalf("%s: %v", path, err)
	}
	return values
}

// merge lays over on base, map by map.
func merge(base, over map[string]interface{}) {
	for key, value := range over {
		below, isMap := base[key].(map[string]interface{})
		if inner, ok := value.(map[string]interface{}); ok && isMap {
			merge(below, inner)
			continue
		}
		base[key] = value
	}
}

func functions(all *template.Template) template.FuncMap {
	known := sprig.TxtFuncMap()
	known["include"] = func(name string, data interface{}) (string, error) {
		var out bytes.Buffer
		err := all.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	known["toYaml"] = func(value interface{}) (string, error) {
		text, err := yaml.Marshal(value)
		return strings.TrimSuffix(string(text), "\n"), err
	}
	known["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, fmt.Errorf("%s", message)
		}
		return value, nil
	}
	return known
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: render_chart CHART RELEASE [VALUES.yaml]")
	}
	chart, release := os.Args[1], os.Args[2]
	values := readYaml(filepath.Join(chart, "values.yaml"))
	if len(os.Args) > 3 {
		merge(values, readYaml(os.Args[3]))
	}
	all := template.New("chart").Option("missingkey=error")
	all.Funcs(functions(all))
	paths, _ := filepath.Glob(filepath.Join(chart, "templates", "*"))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			log.Fatal(err)
		}
		template.Must(all.New(filepath.Base(path)).Parse(string(text)))
	}
	data := map[string]interface{}{
		"Values":  values,
		"Chart":   readYaml(filepath.Join(chart, "Chart.yaml")),
		"Release": map[string]interface{}{"Name": release, "Namespace": "default", "Service": "Helm"},
	}
	for _, path := range paths {
		if !strings.HasSuffix(path, ".yaml") {
			continue
		}
		fmt.Println("---")
		if err := all.ExecuteTemplate(os.Stdout, filepath.Base(path), data); err != nil {
			log.Fatal(err)
		}
		fmt.Println()
	}
}
