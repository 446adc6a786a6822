// Strict validation of Kubernetes objects: node validate.mjs OUT.ts FILE.yaml...
//
// Each document is validated against the schema of its kind here (wrong types, missing fields), and is
// written as a typed literal into OUT.ts, for tsc to refuse fields that the kind does not have.
import { readFileSync, writeFileSync } from "node:fs";
import { load, loadAll } from "js-yaml";

const read = loadAll ?? ((text) => [load(text)]);
const modules = { "monitoring.coreos.com": "@kubernetes-models/prometheus-operator" };

function modulePath(apiVersion, kind) {
  const [group, version] = apiVersion.includes("/") ? apiVersion.split("/") : ["", apiVersion];
  if (group in modules) return `${modules[group]}/${group}/${version}/${kind}`;
  return `kubernetes-models/${group === "" ? "" : group + "/"}${version}/${kind}`;
}

const [out, ...files] = process.argv.slice(2);
const imports = new Map();
const literals = [];
let bad = 0;
for (const file of files) {
  for (const doc of read(readFileSync(file, "utf8"))) {
    if (doc === null || doc === undefined) continue;
    const path = modulePath(doc.apiVersion, doc.kind);
    const what = `${file}: ${doc.kind} ${doc.metadata?.name}`;
    try {
      const { [doc.kind]: Kind } = await import(path);
      new Kind(doc).validate();
    } catch (error) {
      console.error(`${what}: ${error.message}`);
      bad++;
      continue;
    }
    const name = "I" + imports.size;
    if (!imports.has(path)) imports.set(path, { name, kind: doc.kind });
    literals.push(`// ${what}\nexport const d${literals.length}: ${imports.get(path).name} = ` +
      JSON.stringify(doc, null, 1) + ";\n");
  }
}
const heads = [...imports].map(([path, { name, kind }]) =>
  `import type { I${kind} as ${name} } from "${path}";\n`);
writeFileSync(out, heads.join("") + literals.join(""));
console.log(`${literals.length} objects`);
process.exit(bad || literals.length === 0 ? 1 : 0);
