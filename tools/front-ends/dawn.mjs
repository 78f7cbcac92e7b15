// dawn.mjs WEBGPU DIR: the compute pipeline of each DIR/STEM.ENTRY.HASH.wgsl by Dawn's Tint, which Chrome has, on Dawn's null
// backend. Prints those refused; exits with 1 if there is one. What needs more memory or invocations than that backend has is not
// refused: its text is accepted.
import fs from 'node:fs';

const [webgpu, dir] = process.argv.slice(2);
const { create, globals } = await import(`${webgpu}/index.js`);
Object.assign(globalThis, globals);
// Dawn crashes where this is collected.
globalThis.gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
const adapter = await gpu.requestAdapter();
const wanted = ['shader-f16', 'subgroups', 'chromium-experimental-subgroup-matrix'];
const requiredFeatures = wanted.filter(feature => adapter.features.has(feature));
const device = await adapter.requestDevice({
  requiredFeatures,
  requiredLimits: { maxImmediateSize: adapter.limits.maxImmediateSize },
});
device.onuncapturederror = () => {};

let refused = 0, large = 0;
const files = fs.readdirSync(dir);
for (const file of files) {
  device.pushErrorScope('internal');
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code: fs.readFileSync(`${dir}/${file}`, 'utf8') });
  const [wrong] = (await module.getCompilationInfo()).messages.filter(message => message.type === 'error');
  if (!wrong) device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint: file.split('.')[1] } });
  const errors = [await device.popErrorScope(), await device.popErrorScope()].filter(error => error);
  if (!wrong && !errors.length) continue;
  const text = wrong ? `${wrong.lineNum}:${wrong.linePos} ${wrong.message}` : errors[0].message;
  if (!wrong && /workgroup storage|workgroup_size/.test(text)) {
    large++;
    continue;
  }
  refused++;
  console.log(`${file}\t${text.replaceAll('\n', ' ')}`);
}
console.log(`${files.length} shaders: ${refused} refused, ${large} are larger than this backend's workgroups`);
process.exit(refused ? 1 : 0);
