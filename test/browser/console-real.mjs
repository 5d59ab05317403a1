// The console on a real bylaw-vmm: what it serves, and what a VM's folder holds after each click.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { accessible, browser, check, fits, open, quiet, ROOT, shot } from './console-page.mjs';

const TOKEN = 'planted-token-real';
const sha256 = (data) => createHash('sha256').update(data).digest('hex');

// As small as an image may be: files that are listed, measured by nobody here.
function image(folder) {
  mkdirSync(folder, { recursive: true });
  const metadata = {
    version: '0.6.0', is_dev: false, kernel: 'bzImage', initrd: 'initramfs.cpio.gz', cmdline: `console=ttyS0 dstack.rootfs_hash=${'0'.repeat(64)} dstack.rootfs_size=4096`,
    rootfs: 'rootfs.img.verity', rootfs_hash: '0'.repeat(64), bios: 'ovmf.fd', shared_ro: true,
  };
  const files = { 'metadata.json': JSON.stringify(metadata), bzImage: 'kernel', 'initramfs.cpio.gz': 'initrd', 'rootfs.img.verity': 'root', 'ovmf.fd': 'firmware' };
  const sums = Object.entries(files).map(([name, text]) => `${sha256(text)}  ${name}\n`).join('');
  for (const [name, text] of Object.entries({ ...files, 'sha256sum.txt': sums, 'digest.txt': sha256(sums) })) writeFileSync(join(folder, name), text);
}

const freePort = () => new Promise((done) => {
  const server = createServer();
  server.listen(0, '127.0.0.1', () => { const { port } = server.address(); server.close(() => done(port)); });
});

async function start(folder) {
  const binary = process.env.BYLAW_VMM || join(ROOT, 'target/debug/bylaw-vmm');
  if (!existsSync(binary)) throw new Error(`${binary} is missing: cargo build -p bylaw-vmm`);
  const [port, hostApi] = [await freePort(), await freePort()];
  image(join(folder, 'image/bylaw-0.6.0'));
  image(join(folder, 'image/bylaw-0.7.0'));
  writeFileSync(join(folder, 'vmm.toml'), `
address = "127.0.0.1:${port}"
node_name = "<i>rack</i> 9"
run_path = "${folder}/vm"
kms_url = ""
[image]
path = "${folder}/image"
[cvm]
accel = "tcg"
max_allocable_vcpu = 8
[cvm.port_mapping]
enabled = true
range = [{ protocol = "tcp", from = 20000, to = 30000 }]
[cvm.auto_restart]
enabled = false
[host_api]
address = "127.0.0.1"
port = ${hostApi}
[key_provider]
enabled = false
[auth]
enabled = true
tokens = ["${TOKEN}"]
`);
  const child = spawn(binary, ['--config', join(folder, 'vmm.toml'), 'serve'], { cwd: folder, env: { ...process.env, XDG_RUNTIME_DIR: folder }, stdio: ['ignore', 'pipe', 'pipe'] });
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data) => { said += data; });
  const url = `http://127.0.0.1:${port}/`;
  for (let i = 0; ; i += 1) {
    if (child.exitCode !== null) throw new Error(`bylaw-vmm ended with ${child.exitCode}: ${said}`);
    if (await fetch(`${url}res/app.js`).then((response) => response.ok, () => false)) break;
    if (i > 150) throw new Error(`bylaw-vmm does not serve the console: ${said}`);
    await new Promise((done) => { setTimeout(done, 100); });
  }
  return { child, url, said: () => said };
}

async function served(url, policy) {
  const page = await fetch(`${url}?token=${TOKEN}`);
  const headers = Object.fromEntries(page.headers);
  check('real: the page has the policy of the console\u2019s README', headers['content-security-policy'] === policy, headers['content-security-policy']);
  for (const [name, value] of [['x-content-type-options', 'nosniff'], ['referrer-policy', 'no-referrer'], ['cache-control', 'no-store'], ['cross-origin-resource-policy', 'same-origin']]) {
    check(`real: ${name}`, headers[name] === value, headers[name]);
  }
  const text = await page.text();
  check('real: the node\u2019s name is text', text.includes('&lt;i&gt;rack') && !text.includes('<i>rack') && !text.includes('{{'));
  check('real: the page itself needs a token', (await fetch(url)).status === 401);
  check('real: scripts are scripts, with the policy', await fetch(`${url}res/dom.js`).then((one) => one.headers.get('content-type').startsWith('text/javascript') && one.headers.get('content-security-policy') === policy));
  check('real: other names are not found', (await Promise.all(['res/none.js', 'res/README.md', 'res/..%2fCargo.toml'].map((path) => fetch(url + path).then((one) => one.status)))).every((status) => status === 404));
}

// The browser's own sign-in, without a token in the page.
async function basic(url) {
  const context = await browser.newContext({ httpCredentials: { username: TOKEN, password: '' } });
  const page = await context.newPage();
  await page.goto(url);
  await page.waitForSelector('text=No VMs yet');
  check('real: HTTP Basic works too', await page.evaluate(() => sessionStorage.length === 0));
  await context.close();
}

/// Creates, upgrades, resizes and removes a VM by clicks.
export async function real(policy) {
  const folder = mkdtempSync(join(tmpdir(), 'bylaw-console-'));
  let vmm = null;
  try {
    vmm = await start(folder);
    await served(vmm.url, policy);
    await basic(vmm.url);
    await clicks(vmm.url, folder);
  } finally {
    if (vmm) {
      const ended = new Promise((done) => { vmm.child.once('exit', done); });
      vmm.child.kill('SIGTERM');
      await Promise.race([ended, new Promise((done) => { setTimeout(done, 5000); })]);
      if (vmm.child.exitCode === null) vmm.child.kill('SIGKILL');
      check('real: no token in what it logs', !vmm.said().includes(TOKEN));
    }
    rmSync(folder, { recursive: true, force: true });
  }
}

const YAML = `services:\n  web:\n    image: nginx@sha256:${'a'.repeat(64)}\n    ports:\n      - "80:80"\n`;

async function clicks(url, folder) {
  const page = await open(`${url}?token=${TOKEN}`, { width: 1440 });
  await page.waitForSelector('text=No VMs yet');
  check('real: signed in by the address, which forgets the token', page.url() === `${url}#/` || page.url() === url, page.url());
  check('real: the node\u2019s name is shown as it is', (await page.textContent('#node')) === '<i>rack</i> 9');
  await shot(page, 'real-empty');

  await page.getByRole('link', { name: 'New VM' }).click();
  await page.fill('#f-name', 'web one');
  await page.fill('#f-yaml', YAML);
  await page.selectOption('#f-image', 'bylaw-0.6.0');
  await page.fill('#f-memory', '512');
  await page.fill('#f-disk', '1');
  await page.getByRole('button', { name: 'Map 80/tcp' }).click();
  await page.fill('#port-0-host', '19999');
  await page.check('#f-stopped');
  await page.getByText('More', { exact: true }).click();
  await page.selectOption('#f-tee', 'none');
  await page.waitForSelector('text=agreed');
  const shown = await page.getAttribute('#compose-hash button', 'title');
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.getByText('The VMM refused to create it').waitFor();
  check('real: a port outside the range is refused, the form is kept', /19999/.test(await page.textContent('.send .trouble')) && await page.inputValue('#f-yaml') === YAML, await page.textContent('.send'));
  await shot(page, 'real-refused');
  await page.fill('#port-0-host', '20080');
  await page.getByRole('button', { name: 'Create', exact: true }).click();
  await page.waitForURL(/#\/vm\/[0-9a-f-]{36}$/);
  const id = page.url().split('/').pop();
  const at = (name) => join(folder, 'vm', id, name);
  const record = () => JSON.parse(readFileSync(at('vm-manifest.json'), 'utf8'));
  check('real: the manifest on disk has the hash that was shown', sha256(readFileSync(at('shared/app-compose.json'))) === shown);
  check('real: created as asked', record().name === 'web one' && record().memory === 512 && record().app_id === shown.slice(0, 40) && record().port_map[0].from === 20080, JSON.stringify(record()));
  await page.getByText('Stopped').first().waitFor();
  await page.getByText('start the VM and its steps appear').waitFor();
  await shot(page, 'real-stopped');
  await accessible(page, 'real, stopped VM');

  await page.getByRole('link', { name: 'Upgrade', exact: true }).click();
  await page.waitForSelector('#f-yaml');
  await page.fill('#f-yaml', YAML.replace('80:80', '80:8080'));
  await page.waitForSelector('ins.line');
  await page.waitForSelector('text=agreed');
  const next = await page.getAttribute('#compose-hash button', 'title');
  await page.getByRole('button', { name: 'Upgrade' }).click();
  await page.waitForURL(/#\/vm\/[0-9a-f-]{36}$/);
  const after = readFileSync(at('shared/app-compose.json'), 'utf8');
  check('real: upgraded to the text whose hash was shown', sha256(after) === next && next !== shown && JSON.parse(after).docker_compose_file.includes('80:8080'));
  check('real: the app keeps its id', record().app_id === shown.slice(0, 40));

  await page.getByRole('button', { name: 'Resize' }).click();
  await page.getByLabel('Disk (GB)').fill('0');
  check('real: a disk only grows', /only grows/.test(await page.textContent('dialog')) && await page.getByRole('dialog').getByRole('button', { name: 'Resize' }).isDisabled());
  await page.getByLabel('Disk (GB)').fill('2');
  await page.getByLabel('Virtual CPUs').fill('2');
  await page.getByLabel('OS image').selectOption('bylaw-0.7.0');
  await shot(page, 'real-resize');
  await accessible(page, 'real, resize');
  await page.getByRole('dialog').getByRole('button', { name: 'Resize' }).click();
  await page.waitForSelector('dialog', { state: 'hidden' });
  check('real: resized', record().vcpu === 2 && record().disk_size === 2 && record().image === 'bylaw-0.7.0' && record().memory === 512, JSON.stringify(record()));

  writeFileSync(at('serial.log'), 'early line\n\u001b[32mbylaw-boot\u001b[0m: from the guest\n');
  await page.getByRole('link', { name: 'Logs' }).click();
  await page.getByText('bylaw-boot: from the guest').waitFor();
  writeFileSync(at('serial.log'), 'a line that came later\n', { flag: 'a' });
  await page.getByText('a line that came later').waitFor();
  check('real: the log follows', true);
  await shot(page, 'real-logs');

  // There is no kernel in the image: QEMU says so and ends.
  await page.getByRole('button', { name: 'Start' }).click();
  await page.getByText('QEMU does not start').waitFor();
  await page.waitForTimeout(100);
  const said = await page.locator('.trouble').allInnerTexts();
  check('real: a start that fails is said once, with QEMU\u2019s own words and what to do', said.length === 1 && /kernel/.test(said[0]) && /bylaw image verify/.test(said[0]), said.join(' | '));
  check('real: and the VM is off', await page.locator('.title-row .status').textContent() === 'Stopped');
  await shot(page, 'real-exited');

  await page.getByRole('link', { name: 'Images' }).click();
  await page.getByRole('button', { name: 'Delete bylaw-0.7.0' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete bylaw-0.7.0' }).click();
  await page.getByText('The VMM refused').waitFor();
  check('real: an image that is used stays', existsSync(join(folder, 'image/bylaw-0.7.0/metadata.json')));
  await page.keyboard.press('Escape');
  await page.getByRole('link', { name: 'Node' }).click();
  const processes = page.locator('.part', { has: page.getByRole('heading', { name: 'Processes' }) });
  await processes.locator('.plain-list, .empty').waitFor();
  check('real: no process is said to run', !/running/.test(await processes.innerText()), await processes.innerText());
  await fits(page, 'real, node');

  await page.goto(`${url}#/vm/${id}`);
  await page.getByRole('button', { name: 'Remove' }).click();
  const remove = page.getByRole('button', { name: 'Remove web one' });
  await page.getByLabel('Name of the VM').fill('web on');
  check('real: removing needs the whole name', await remove.isDisabled());
  await shot(page, 'real-remove');
  await accessible(page, 'real, remove');
  await page.getByLabel('Name of the VM').fill('web one');
  await remove.click();
  await page.waitForSelector('text=No VMs yet');
  check('real: removed, with its folder', !existsSync(at('vm-manifest.json')));
  await quiet(page, 'real');
  await page.context().close();
}
