// Looks at the VMM's console in a browser: on a node made here for the states that need running guests, a
// chain and a registry, then on a real bylaw-vmm.
//
//   cargo build -p bylaw-vmm && node test/browser/console.mjs [part of a check's name]
//
// BYLAW_VMM names another binary than target/debug/bylaw-vmm, CHROMIUM another browser than the system's.
// Screenshots go to target/browser/console.
import { mkdirSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { POLICY, startNode } from './console-node.mjs';
import { accessible, browser, check, ELSEWHERE, failures, fits, keyboard, open, quiet, shot, SHOTS, tally } from './console-page.mjs';
import { real } from './console-real.mjs';

const sha256 = (text) => createHash('sha256').update(text).digest('hex');

// Each view in one width and scheme; axe looks where `looks`.
async function views(node, width, scheme, looks) {
  const [ledger, search, payments, , stopped] = node.state.vms.map((vm) => vm.id);
  const page = await open(node.url, { width, scheme });
  for (const [name, hash, wanted] of [
    ['list', '#/', '.vms'], ['vm', `#/vm/${ledger}`, '.plot .line'], ['booting', `#/vm/${search}`, '.steps .wait'], ['failed', `#/vm/${payments}`, '.trouble'], ['logs', `#/vm/${ledger}/logs`, '.log-line'],
    ['setup', `#/vm/${ledger}/setup`, '.text'], ['new', '#/new', '#f-yaml'], ['upgrade', `#/vm/${stopped}/upgrade`, '#f-yaml'], ['images', '#/images', '.image'], ['node', '#/node', '.facts'],
  ]) {
    const where = `${name}, ${scheme}, ${width} px`;
    await page.goto(node.url + hash);
    await page.waitForSelector(wanted);
    await page.evaluate(() => { for (const one of document.querySelectorAll('main details')) one.open = true; });
    await page.waitForTimeout(60);
    await fits(page, where);
    if (looks) await accessible(page, where);
    if (width > 320) await shot(page, `${name}-${scheme}-${width}`);
  }
  await quiet(page, `${scheme}, ${width} px`);
  await page.context().close();
}

async function watching(node) {
  const page = await open(node.url, { width: 1024 });
  const rows = () => page.locator('.vm').count();
  await page.keyboard.press('/');
  await page.keyboard.type('ledger running');
  await page.waitForFunction(() => document.querySelectorAll('.vm').length === 1);
  check('search: / goes there, every word must fit', await page.locator('.vm a').first().textContent() === 'ledger');
  await page.fill('#search', 'no such thing');
  check('search: nothing fits, and the way back is there', /No VM fits/.test(await page.textContent('main')));
  await page.getByRole('button', { name: 'Show all' }).click();
  await page.getByRole('button', { name: /in trouble/ }).click();
  await page.waitForFunction(() => document.querySelectorAll('.vm').length === 2).catch(() => {});
  check('filter: in trouble', await rows() === 2, `${await rows()}`);
  await page.getByRole('button', { name: 'all', exact: true }).click();
  const [first, , third, fourth, fifth] = node.state.vms;
  await page.locator('.vm a').nth(1).evaluate((one) => { one.focus(); window.kept = one; });
  Object.assign(first, { status: 'exited', exited_at: '1s' });
  await page.waitForFunction(() => document.querySelector('#live').textContent.includes('ledger: Exited'), null, { timeout: 8000 });
  check('live: a change is shown', /Exited/.test(await page.locator('.vm').first().textContent()));
  check('live: the focus stays where it was', await page.evaluate(() => document.activeElement === window.kept && window.kept.isConnected));
  Object.assign(first, { status: 'running', exited_at: 'never' });
  check('names are text', await page.evaluate(() => window.ran === undefined && document.querySelectorAll('main b').length === 0 && document.body.innerText.includes('<b>not bold</b> U+202E')));
  await keyboard(page, 'list');

  await page.goto(`${node.url}#/vm/${third.id}`);
  await page.waitForSelector('.trouble');
  const trouble = await page.textContent('.trouble');
  check('failed boot: says what the guest said, what it means and what to do', trouble.includes(third.boot_error) && trouble.includes('The contract refuses this app') && trouble.includes('bylaw gov'), trouble);
  check('failed boot: the step that failed is in the timeline', /Failed: the KMS refused/.test(await page.locator('.steps .bad').textContent()));
  check('simulated: said at the top', /Simulated\. Nothing in this VM is confidential/.test(await page.textContent('main')));
  await page.goto(`${node.url}#/vm/${fourth.id}`);
  await page.waitForSelector('.trouble');
  check('exited: the way to QEMU\u2019s own message', /QEMU ended by itself/.test(await page.textContent('.trouble')) && /stderr log/.test(await page.textContent('.trouble')));

  const said = { app_id: `0x${first.app_id}`, compose_hash: `0x${sha256('x')}`, kms_auth: `0x${sha256('k').slice(0, 40)}`, chain_id: 8453 };
  for (const [vm, answer, wanted] of [
    [first, { ...said, state: 'allowed', reason: 'since block 812 004' }, ['Allowed', 'since block 812 004', '8453']],
    [fourth, { ...said, state: 'pending', reason: 'proposed', activates_at: Math.floor(Date.now() / 1000) + 7300 }, ['Pending', 'in 2 h']],
    [third, { ...said, state: 'refused', reason: 'this compose hash is not among the allowed' }, ['Refused', 'not among the allowed', 'bylaw gov propose']],
    [fifth, null, ['cvm.chain']],
  ]) {
    if (answer) node.state.governance[vm.id] = answer;
    await page.goto('about:blank');
    await page.goto(`${node.url}#/vm/${vm.id}`);
    const section = page.locator('.part', { has: page.getByRole('heading', { name: 'Governance' }) });
    await section.locator('.verdict, .empty').waitFor();
    const shown = await section.innerText();
    check(`governance: ${answer?.state || 'no chain'}`, wanted.every((one) => shown.includes(one)), shown);
  }

  await page.goto(`${node.url}#/vm/${first.id}`);
  await page.waitForSelector('.plot .line');
  check('plots: three, with their values in words', await page.locator('.plot svg[aria-label*="last ten minutes; now "]').count() === 3 && /of 4.0 GB, \d+ %/.test(await page.textContent('.plots')));
  check('containers: named with their images', /ledger-web-1.*running.*ghcr\.io\/example\/ledger@sha256/.test(await page.textContent('.containers')));
  check('timeline: steps with what each took', /asking https:\/\/kms\.example\.com:8000 for keys\s*2\.6 s|2\.7 s/.test(await page.textContent('.steps')));
  await keyboard(page, 'vm');
  await quiet(page, 'watching');
  await page.context().close();
}

async function following(node) {
  const page = await open(`${node.url}#/vm/${node.state.vms[0].id}/logs`, { width: 1024 });
  await page.waitForSelector('.log-line');
  const text = () => page.locator('.log').innerText();
  check('log: escape sequences are gone, markup is text', (await text()).includes('<script>window.ran=1</script> red') && await page.evaluate(() => window.ran === undefined));
  check('log: heartbeats are not lines', !(await text()).includes('heartbeat'));
  const write = (line) => node.state.logs.at(-1)(`${line}\n`);
  write('first new line');
  await page.getByText('first new line').waitFor();
  check('log: is at its end', await page.locator('.log').evaluate((one) => one.scrollHeight - one.scrollTop - one.clientHeight < 3));
  await page.getByRole('button', { name: 'Pause' }).click();
  write('while paused');
  await page.getByText('Paused, 1 new line').waitFor();
  check('log: paused', !(await text()).includes('while paused'));
  await page.getByRole('button', { name: 'Follow' }).click();
  await page.getByText('while paused').waitFor();
  await page.fill('#log-search', 'KEYS');
  await page.check('#log-only');
  await page.waitForTimeout(50);
  const lines = (await text()).trim().split('\n');
  check('log: finds, whatever the case', lines.length === 30 && lines.every((one) => one.includes('keys received')) && await page.locator('.log mark').count() === 30, `${lines.length}`);
  write('keys again');
  await page.waitForFunction(() => document.querySelectorAll('.log mark').length === 31);
  await page.getByRole('button', { name: 'stderr' }).click();
  await page.getByText('Nothing in this log yet').waitFor();
  await quiet(page, 'logs');
  await page.context().close();
}

const YAML = `services:\n  web:\n    image: nginx@sha256:${'a'.repeat(64)}\n    ports:\n      - "8080:80"\n    environment:\n      GREETING: \${GREETING}\n`;
// Valid files that a careless reader takes for wrong ones.
const FINE = [
  YAML, YAML.replaceAll('\n', '\n\n'), `# c\n---\nversion: "3"\n${YAML}`,
  'services:\n  a:\n    image: x@sha256:' + 'b'.repeat(64) + '\n    command: |\n      echo "one\n      \techo it\'s\n    entrypoint: ["sh", "-c"]\n  b:\n    image: ${IMAGE}\n    configs:\n    - source: c\n      target: /c\n    - source: d\n      target: /d\n    healthcheck: {test: ["CMD", "true"], interval: 5s}\nvolumes: {}\n',
  'x-base: &base\n  restart: always\nservices:\n  a:\n    <<: *base\n    image: "x"\n    labels:\n      - "a=b: c"\n      - url=http://x:1/\n    environment:\n      - A=it\'s fine\n      - B="x"\n',
  'services:\n  a: {image: x}\n', 'services:\n  a:\n    image: x # comment: with colon\n    command: >-\n      two\n      words: here\n    user: "1"\n',
];
const WRONG = [
  ['services:\n\ta:\n', 2, 'tab'], ['service:\n  a:\n    image: x\n', 1, 'services'], ['services:\n  a:\n    image:x\n', 3, 'space'], ['services:\n  a:\n    image: x\n    image: y\n', 4, 'again'],
  ['services:\n  a:\n    image: x\n   ports: []\n', 4, 'indented'], ['services:\n  a:\n    image: "x\n', 3, 'quotation'], ['services:\n  a:\n    build: .\n', 3, 'build'],
];

async function creating(node) {
  const page = await open(`${node.url}#/new`, { width: 1440 });
  const judged = await page.evaluate(async ([fine, wrong]) => {
    const { inspect } = await import('/res/yaml.js');
    const { check: checkManifest } = await import('/res/manifest.js');
    const errors = (text) => inspect(text).problems.filter((one) => one.level === 'error');
    return {
      fine: fine.map(errors).map((found, i) => (found.length > 0 ? `${i}: ${JSON.stringify(found)}` : '')).filter(Boolean),
      wrong: wrong.map(([text, line, word]) => (errors(text).some((one) => one.line === line && one.text.includes(word)) ? '' : text)).filter(Boolean),
      json: ['{', '[]', '{"manifest_version": 2,\n"name": "a"\n"runner": "bash"}', '{"manifest_version":2,"name":"a","runner":"docker-compose"}', '{"manifest_version":2,"name":"a","runner":"bash","kms_enabled":"yes"}'].map((text) => checkManifest(text).problems.map((one) => one.line).join()),
    };
  }, [FINE, WRONG]);
  check('yaml: nothing wrong with what is right', judged.fine.length === 0, judged.fine.join('; '));
  check('yaml: what is wrong is found on its line', judged.wrong.length === 0, judged.wrong.join('; '));
  check('json: what is wrong is found', judged.json.every((lines) => lines !== '') && judged.json[2] === '3', judged.json.join(' | '));

  await page.getByRole('button', { name: 'Create and start' }).click();
  check('create: nothing is sent while something is missing', !node.state.messages.some(([name]) => name === 'CreateVm') && /Not sent yet/.test(await page.textContent('.form-side')));
  check('create: the first control that needs something has the focus', await page.evaluate(() => document.activeElement.id) === 'f-name');
  await accessible(page, 'create, with faults');
  await page.fill('#f-name', 'greeter');
  await page.focus('#f-yaml');
  await page.keyboard.insertText('services:');
  for (const line of ['web:', `image: nginx@sha256:${'a'.repeat(64)}`]) { await page.keyboard.press('Enter'); await page.keyboard.insertText(line); }
  const typed = await page.inputValue('#f-yaml');
  check('editor: Enter keeps and deepens the indentation', typed === `services:\n  web:\n    image: nginx@sha256:${'a'.repeat(64)}`, typed);
  await page.keyboard.press('Home');
  await page.keyboard.press('Tab');
  check('editor: Tab indents', (await page.inputValue('#f-yaml')).endsWith(`\n      image: nginx@sha256:${'a'.repeat(64)}`));
  await page.keyboard.press('Control+z');
  check('editor: and can be undone', await page.inputValue('#f-yaml') === typed);
  await page.keyboard.press('Escape');
  await page.keyboard.press('Tab');
  check('editor: Esc, Tab leaves it', await page.evaluate(() => document.activeElement.id !== 'f-yaml'));
  await page.fill('#f-yaml', YAML.replace('image: nginx', 'image:nginx'));
  check('editor: a problem names its line', /Line 3 a space is missing/.test(await page.textContent('.problems')) && await page.locator('.numbers .error').textContent() === '3');
  await page.getByRole('button', { name: 'Create and start' }).click();
  await page.selectOption('#f-image', 'bylaw-0.6.0');
  await page.getByRole('button', { name: 'Create and start' }).click();
  check('editor: what looks wrong is not sent at the first click', /send it again/.test(await page.textContent('.send')) && !node.state.messages.some(([name]) => name === 'CreateVm'));
  await page.fill('#f-yaml', YAML);
  await page.waitForTimeout(50);
  check('editor: as many numbers as lines', await page.locator('#f-yaml-gutter span').count() === YAML.split('\n').length);
  await page.getByRole('button', { name: 'Map 80/tcp' }).click();
  await page.fill('#port-0-host', '18080');
  await page.fill('#port-0-address', '127.0.0.1');
  await page.getByRole('button', { name: 'Create and start' }).click();
  check('create: a port that another VM has is named', /ledger has this port/.test(await page.textContent('.port-row')));
  await page.fill('#port-0-host', '18081');
  await page.fill('#f-env', 'GREETING=planted-secret-7f3a\n# none\nEMPTY=');
  check('create: the app takes what is given', await page.inputValue('#f-allowed') === 'GREETING EMPTY');
  await page.fill('#f-allowed', 'GREETING, EMPTY LATER');
  await page.fill('#f-env', 'GREETING=planted-secret-7f3a');
  await page.waitForTimeout(50);
  check('create: names go with their variables, typed ones stay', await page.inputValue('#f-allowed') === 'GREETING LATER');
  await page.fill('#f-vcpu', '99');
  check('create: the node\u2019s limits hold', /at most 20 virtual CPUs/.test(await page.textContent('.form-main')));
  await page.fill('#f-vcpu', '2');

  await page.reload();
  await page.waitForSelector('#f-yaml');
  check('create: a reload loses nothing but the environment', await page.inputValue('#f-yaml') === YAML && await page.inputValue('#port-0-host') === '18081' && await page.inputValue('#f-env') === '');
  await page.fill('#f-env', 'GREETING=planted-secret-7f3a\n# none\nEMPTY=');

  node.state.refuse.CreateVm = 'port_mapping: tcp 127.0.0.1:18081 is already in use';
  await page.getByRole('button', { name: 'Create and start' }).click();
  await page.getByText('The VMM refused to create it').waitFor();
  const refused = await page.textContent('.send');
  check('create: a refusal says what and what to do', refused.includes('already in use') && refused.includes('Choose another host port'), refused);
  check('create: and the form is as it was', await page.inputValue('#f-yaml') === YAML && (await page.inputValue('#f-env')).includes('planted-secret') && await page.inputValue('#f-name') === 'greeter');
  await shot(page, 'create-refused-light-1440');
  await accessible(page, 'create, refused');
  delete node.state.refuse.CreateVm;
  await page.waitForSelector('text=agreed');
  const shown = { hash: await page.getAttribute('#compose-hash button', 'title'), app: await page.getAttribute('#app-id button', 'title') };
  await page.getByRole('button', { name: 'Create and start' }).click();
  await page.waitForURL(/#\/vm\//);
  const [, sent] = node.state.messages.filter(([name]) => name === 'CreateVm').pop();
  check('create: the hash shown is of the bytes sent', shown.hash === sha256(sent.compose_file) && shown.app === shown.hash.slice(0, 40), shown.hash);
  const app = JSON.parse(sent.compose_file);
  check('create: the manifest is what was typed', app.name === 'greeter' && app.docker_compose_file === YAML && app.allowed_envs.join() === 'LATER,GREETING,EMPTY' && app.kms_enabled === true);
  check('create: the guest can read the environment', JSON.stringify(node.decrypt(sent.encrypted_env)) === JSON.stringify({ env: [{ key: 'GREETING', value: 'planted-secret-7f3a' }, { key: 'EMPTY', value: '' }] }));
  check('create: and nobody else sees it', !JSON.stringify(node.state.messages).includes('planted-secret') && !await page.evaluate(() => JSON.stringify({ ...sessionStorage, ...localStorage }).includes('planted-secret')));
  const asked = node.state.messages.filter(([name]) => name === 'GetAppEnvEncryptPubKey').pop();
  check('create: the key asked for is of that app', asked[1].app_id === shown.app);
  check('create: ports and machine', JSON.stringify(sent.ports) === JSON.stringify([{ protocol: 'tcp', host_address: '127.0.0.1', host_port: 18081, vm_port: 80 }]) && sent.vcpu === 2 && sent.stopped === false && sent.simulated_tee === null);
  await quiet(page, 'creating');
  await page.context().close();
}

// Where browsers neither hash nor encrypt: what is left, and how it is said.
async function plainHttp(node) {
  const page = await open(`${node.url.replace('127.0.0.1', ELSEWHERE)}#/new`, { width: 1024 });
  check('plain http: it is one', await page.evaluate(() => !window.isSecureContext));
  await page.fill('#f-name', 'far');
  await page.fill('#f-yaml', YAML);
  await page.waitForSelector('text=By the VMM only');
  const said = await page.textContent('.form-main');
  check('plain http: says why nothing is encrypted here, and how to', /only on pages served by https/.test(said) && /ssh -L/.test(said) && /bylaw env encrypt/.test(said) && await page.locator('#f-env').count() === 0);
  await page.locator('details', { has: page.locator('#f-sealed') }).evaluate((one) => { one.open = true; });
  await page.setInputFiles('#f-sealed', { name: 'env.sealed', mimeType: 'application/octet-stream', buffer: Buffer.from([1, 2, 255]) });
  await page.fill('#f-allowed', 'TOKEN');
  await page.selectOption('#f-image', 'bylaw-0.6.0');
  await page.waitForSelector('text=By the VMM only');
  const shown = await page.getAttribute('#compose-hash button', 'title');
  await page.getByRole('button', { name: 'Create and start' }).click();
  await page.waitForURL(/#\/vm\//);
  const [, sent] = node.state.messages.filter(([name]) => name === 'CreateVm').pop();
  check('plain http: the VMM\u2019s hash is of the bytes sent', shown === sha256(sent.compose_file));
  check('plain http: a file encrypted elsewhere is sent as it is', sent.encrypted_env === '0102ff' && JSON.parse(sent.compose_file).allowed_envs.join() === 'TOKEN');
  await page.locator('button.hash').first().click();
  await page.waitForFunction(() => /Cop|does not let/.test(document.querySelector('#live').textContent));
  await quiet(page, 'plain http');
  await page.context().close();
}

async function crowded(node) {
  const [one] = node.state.vms;
  node.state.vms.push(...Array.from({ length: 294 }, (_, i) => ({ ...one, id: `${String(i + 100).padStart(8, '0')}-4b1d-4c6e-9a53-1f0e6d2c7b8a`, name: `vm ${i}`, status: 'stopped' })));
  const page = await open(node.url, { width: 1024 });
  await page.waitForFunction(() => document.querySelectorAll('.vm').length === 300);
  const took = await page.evaluate(async () => {
    const { changed } = await import('/res/state.js');
    const from = performance.now();
    for (let i = 0; i < 5; i += 1) { changed(); await new Promise((done) => { setTimeout(done, 0); }); await new Promise((done) => { setTimeout(done, 0); }); }
    return (performance.now() - from) / 5;
  });
  check('crowded: 300 VMs are drawn again within 250 ms', took < 250, `${took.toFixed(0)} ms`);
  await quiet(page, 'crowded');
  await page.context().close();
}

async function changing(node) {
  const vm = node.state.vms[4];
  const page = await open(`${node.url}#/vm/${vm.id}/upgrade`, { width: 1440 });
  const before = vm.configuration.compose_file;
  const send = page.getByRole('button', { name: 'Upgrade' });
  await page.waitForSelector('#f-yaml');
  check('upgrade: nothing to send at first', await send.isDisabled());
  await page.fill('#f-yaml', (await page.inputValue('#f-yaml')).replace('8080:80', '8080:81'));
  await page.waitForSelector('ins.line');
  check('upgrade: shows what changes', /8080:81/.test(await page.textContent('ins.line')) && /8080:80/.test(await page.textContent('del.line')));
  await shot(page, 'upgrade-diff-light-1440');
  await send.click();
  await page.waitForURL(/#\/vm\/[^/]+$/);
  const [, sent] = node.state.messages.filter(([name]) => name === 'UpgradeApp').pop();
  check('upgrade: sends what changed only, byte for byte', sent.compose_file === before.replace('8080:80', '8080:81') && Object.keys(sent).sort().join() === 'compose_file,encrypted_env,id');

  const odd = node.state.vms[5];
  odd.configuration.compose_file = `{"name":"odd",  "manifest_version":2,"runner":"docker-compose","docker_compose_file":${JSON.stringify(YAML)},"x_kept":[1,2]}`;
  await page.reload();
  await page.goto(`${node.url}#/vm/${odd.id}/upgrade`);
  await page.waitForSelector('text=laid out by hand');
  await page.getByRole('button', { name: 'app-compose.json' }).click();
  check('upgrade: the exact text can be edited', await page.inputValue('#f-json') === odd.configuration.compose_file);
  await page.fill('#f-json', odd.configuration.compose_file.replace('[1,2]', '[1,2'));
  check('upgrade: broken JSON names its line', /Line 1/.test(await page.textContent('.problems')));
  await page.getByRole('button', { name: 'Discard' }).click();

  await page.goto(`${node.url}#/vm/${node.state.vms[0].id}`);
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await page.waitForSelector('dialog[open]');
  check('stop: asks, and names the VM', /Stop ledger at once\?/.test(await page.textContent('dialog')));
  check('stop: nothing happened yet', !node.state.messages.some(([name]) => name === 'StopVm'));
  await accessible(page, 'stop dialog');
  await page.keyboard.press('Escape');
  check('stop: Esc goes back to the button', await page.evaluate(() => !document.querySelector('dialog').open && document.activeElement.textContent === 'Stop'));
  node.state.refuse.StopVm = 'supervisor: no answer';
  await page.getByRole('button', { name: 'Stop', exact: true }).click();
  await page.getByRole('button', { name: 'Stop ledger' }).click();
  await page.getByText('supervisor: no answer').waitFor();
  delete node.state.refuse.StopVm;
  await page.getByRole('button', { name: 'Stop ledger' }).click();
  await page.getByRole('button', { name: 'Start' }).waitFor();
  check('stop: done after the second click', node.state.vms[0].status === 'stopped');
  node.state.refuse.StartVm = 'not enough GPUs';
  await page.getByRole('button', { name: 'Start' }).click();
  await page.getByText('ledger could not be started').waitFor();
  delete node.state.refuse.StartVm;
  await page.getByRole('button', { name: 'Start' }).click();
  await page.getByRole('button', { name: 'Shut down' }).waitFor();
  check('start: and the next thing can be asked', await page.getByRole('button', { name: 'Shut down' }).isEnabled());
  check('start: a refusal goes away once it works', await page.getByText('could not be started').count() === 0);

  await page.goto(`${node.url}#/images`);
  await page.getByRole('button', { name: 'Pull bylaw-0.7.0' }).click();
  await page.getByText('pulling', { exact: true }).waitFor();
  await page.waitForFunction(() => document.querySelector('#live').textContent.includes('bylaw-0.7.0 is here'), null, { timeout: 9000 });
  await page.getByRole('button', { name: 'Delete bylaw-0.7.0' }).waitFor();
  check('images: a pulled one is here', await page.getByRole('button', { name: 'Delete bylaw-0.7.0' }).count() === 1);
  await quiet(page, 'changing');
  await page.context().close();
}

async function unreachable(node) {
  const page = await open(node.url, { width: 390 });
  node.state.failing = true;
  await page.waitForSelector('.banner', { timeout: 9000 });
  check('unreachable: says so, goes on showing what it knew', /Out of date/.test(await page.textContent('.banner')) && await page.locator('.vm').count() > 0 && /^Stale: /.test(await page.title()));
  await fits(page, 'unreachable');
  await accessible(page, 'unreachable');
  await shot(page, 'unreachable-light-390');
  node.state.failing = null;
  await page.waitForSelector('.banner', { state: 'detached', timeout: 20000 });
  await page.context().close();

  node.state.vms.splice(0);
  node.state.images.splice(0);
  const bare = await open(node.url, { width: 390 });
  await bare.waitForSelector('text=No VMs yet');
  check('empty: says what to do first', /this node has none\. Pull one/.test(await bare.textContent('main')));
  await shot(bare, 'empty-light-390');
  await accessible(bare, 'empty');
  await bare.context().close();

  node.state.token = 'planted-token-1';
  const page2 = await open(`${node.url}?token=planted-token-1#/images`, { width: 390 });
  await page2.waitForSelector('text=On this node');
  check('token: works, and leaves the address', !page2.url().includes('token') && page2.url().endsWith('#/images'), page2.url());
  await page2.reload();
  await page2.waitForSelector('text=On this node');
  await page2.evaluate(() => sessionStorage.setItem('bylaw-vmm-token', 'wrong'));
  await page2.reload();
  await page2.waitForSelector('#token');
  await accessible(page2, 'sign in');
  await shot(page2, 'sign-in-light-390');
  await page2.fill('#token', 'planted-token-1');
  await page2.keyboard.press('Enter');
  await page2.waitForSelector('text=On this node');
  check('token: a wrong one is asked for again', await page2.locator('#token').count() === 0);
  await quiet(page2, 'token');
  await page2.context().close();
}

mkdirSync(SHOTS, { recursive: true });
const only = process.argv[2] || '';
const parts = {
  'views, light, wide': (node) => views(node, 1440, 'light', true), 'views, dark, narrow': (node) => views(node, 390, 'dark', true),
  watching, unreachable, changing, creating, following, 'plain http': plainHttp, crowded,
  'views, light, narrow': (node) => views(node, 390, 'light', false), 'views, dark, wide': (node) => views(node, 1440, 'dark', false), 'views, 320 px': (node) => views(node, 320, 'light', false),
};

async function run(name) {
  const from = Date.now();
  const node = name === 'real' ? null : await startNode();
  try {
    await (node ? parts[name](node) : real(POLICY));
  } catch (error) {
    check(`${name}: runs to its end`, false, error.stack);
  } finally {
    await node?.stop();
  }
  console.log(`${name}: ${((Date.now() - from) / 1000).toFixed(1)} s`);
}

try {
  // Much of it is waiting: three at a time.
  const queue = ['real', ...Object.keys(parts)].filter((name) => name.includes(only));
  const worker = async () => { while (queue.length > 0) await run(queue.shift()); };
  await Promise.all([worker(), worker(), worker()]);
} finally {
  await browser.close();
}
console.log(`${tally.passed} passed, ${failures.length} failed`);
process.exit(failures.length === 0 ? 0 : 1);
