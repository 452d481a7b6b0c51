// What programs do with the official JavaScript client, subject after subject: node client.mjs KUBECONFIG NAMESPACE.
// Prints what it saw of each as one line of JSON, or why it did not go on.
import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { setTimeout as sleep } from 'node:timers/promises';
import * as k8s from '@kubernetes/client-node';

const [kubeconfig, namespace] = process.argv.slice(2);
const config = new k8s.KubeConfig();
config.loadFromFile(kubeconfig);
const core = config.makeApiClient(k8s.CoreV1Api);
const apps = config.makeApiClient(k8s.AppsV1Api);

async function until(check, within = 60_000) {
    const deadline = Date.now() + within;
    for (;;) {
        const found = await check();
        if (found) return found;
        if (Date.now() > deadline) throw new Error(`still not so: ${check}`);
        await sleep(50);
    }
}

async function refusal(promise) {
    try {
        await promise;
    } catch (error) {
        const body = typeof error.body === 'string' ? JSON.parse(error.body) : error.body;
        return [error.code, body.reason, body.message];
    }
    throw new Error('it was not refused');
}

class Text extends Writable {
    text = '';
    _write(chunk, _, done) {
        this.text += chunk;
        done();
    }
}

const container = { name: 'main', image: 'process', command: ['sh', '-c', 'echo started; exec python3 -m http.server 8000 --bind $POD_IP'] };

function pod(name, labels = {}) {
    return { metadata: { name, labels }, spec: { terminationGracePeriodSeconds: 1, containers: [container] } };
}

async function ready(name) {
    await until(async () => {
        const { status } = await core.readNamespacedPod({ namespace, name });
        return status.conditions?.some((each) => each.type === 'Ready' && each.status === 'True');
    });
}

function exec(name, command, stdin = null) {
    const stdout = new Text();
    const stderr = new Text();
    return new Promise((resolve, reject) => {
        new k8s.Exec(config)
            .exec(namespace, name, 'main', command, stdout, stderr, stdin, false, (status) =>
                resolve({ stdout: stdout.text, stderr: stderr.text, status: status.status, code: status.details?.causes?.[0]?.message }),
            )
            .catch(reject);
    });
}

const subjects = {
    async objects() {
        const name = 'settings';
        const made = await core.createNamespacedConfigMap({ namespace, body: { metadata: { name, labels: { app: 'js' } }, data: { a: '1' } } });
        const again = await refusal(core.createNamespacedConfigMap({ namespace, body: { metadata: { name } } }));
        const listed = await core.listNamespacedConfigMap({ namespace, labelSelector: 'app in (js)', limit: 1 });
        const stale = { ...made, data: { a: '2' } };
        await core.replaceNamespacedConfigMap({ namespace, name, body: stale });
        const conflict = await refusal(core.replaceNamespacedConfigMap({ namespace, name, body: stale }));
        const invalid = await refusal(core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'A B' } } }));
        await core.deleteNamespacedConfigMap({ namespace, name });
        const gone = await refusal(core.readNamespacedConfigMap({ namespace, name }));
        return {
            created: made.metadata.creationTimestamp instanceof Date,
            listed: listed.items.map((each) => each.metadata.name),
            refusals: [again, conflict, invalid, gone],
        };
    },

    async patches() {
        const name = 'web';
        const template = { metadata: { labels: { app: name } }, spec: { containers: [{ ...container }] } };
        const spec = { replicas: 0, selector: { matchLabels: { app: name } }, template };
        await apps.createNamespacedDeployment({ namespace, body: { metadata: { name }, spec } });
        const patch = (body, kind, more = {}) =>
            apps.patchNamespacedDeployment({ namespace, name, body, ...more }, k8s.setHeaderOptions('Content-Type', kind));
        const seen = {};
        seen.json = (await patch([{ op: 'add', path: '/metadata/annotations', value: { a: '1' } }], k8s.PatchStrategy.JsonPatch)).metadata.annotations;
        seen.merge = (await patch({ metadata: { annotations: { a: null, b: '2' } } }, k8s.PatchStrategy.MergePatch)).metadata.annotations;
        const side = { spec: { template: { spec: { containers: [{ name: 'side', image: 'process' }] } } } };
        seen.strategic = (await patch(side, k8s.PatchStrategy.StrategicMergePatch)).spec.template.spec.containers.map((each) => each.name);
        const applied = { apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name, labels: { by: 'js' } } };
        const apply = await patch(applied, k8s.PatchStrategy.ServerSideApply, { fieldManager: 'js', force: true });
        seen.apply = [apply.metadata.labels, apply.metadata.managedFields.some((each) => each.manager === 'js' && each.operation === 'Apply')];
        const scale = await apps.patchNamespacedDeploymentScale(
            { namespace, name, body: { spec: { replicas: 2 } } },
            k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
        );
        seen.scale = scale.spec.replicas;
        await apps.deleteNamespacedDeployment({ namespace, name, propagationPolicy: 'Background' });
        return seen;
    },

    async dynamic() {
        const objects = k8s.KubernetesObjectApi.makeApiClient(config);
        const [secret] = k8s.loadAllYaml(`apiVersion: v1\nkind: Secret\nmetadata: {name: dynamic, namespace: ${namespace}}\nstringData: {a: b}\n`);
        const made = await objects.create(secret);
        const patched = await objects.patch({ ...secret, stringData: undefined, metadata: { ...secret.metadata, labels: { a: 'b' } } });
        const read = await objects.read(secret);
        await objects.delete(secret);
        return { data: made.data, labels: patched.metadata.labels, kind: read.kind, gone: await refusal(objects.read(secret)) };
    },

    async watch() {
        const events = [];
        let ended;
        const done = new Promise((resolve) => (ended = resolve));
        const path = `/api/v1/namespaces/${namespace}/configmaps`;
        const { metadata } = await core.listNamespacedConfigMap({ namespace });
        const query = { labelSelector: 'watched=yes', resourceVersion: metadata.resourceVersion, allowWatchBookmarks: true };
        const controller = await new k8s.Watch(config).watch(
            path, query, (type, object) => type !== 'BOOKMARK' && events.push([type, object.metadata.name]), (error) => ended(error),
        );
        const body = { metadata: { name: 'w', labels: { watched: 'yes' } } };
        await core.createNamespacedConfigMap({ namespace, body });
        await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'other' } } });
        await core.replaceNamespacedConfigMap({ namespace, name: 'w', body: { ...body, data: { a: '1' } } });
        await core.deleteNamespacedConfigMap({ namespace, name: 'w' });
        await until(() => events.length === 3);
        controller.abort();
        const error = await done;
        return { events, ended: error?.name ?? null };
    },

    async informer() {
        const events = [];
        const list = () => core.listNamespacedConfigMap({ namespace, labelSelector: 'app=informed' });
        await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'before', labels: { app: 'informed' } } } });
        const informer = k8s.makeInformer(config, `/api/v1/namespaces/${namespace}/configmaps`, list, 'app=informed');
        for (const verb of ['add', 'update', 'delete']) informer.on(verb, (object) => events.push([verb, object.metadata.name]));
        informer.on('error', (error) => events.push(['error', String(error)]));
        await informer.start();
        await core.createNamespacedConfigMap({ namespace, body: { metadata: { name: 'after', labels: { app: 'informed' } } } });
        await until(() => informer.get('after', namespace));
        await core.patchNamespacedConfigMap(
            { namespace, name: 'after', body: { data: { a: '1' } } },
            k8s.setHeaderOptions('Content-Type', k8s.PatchStrategy.MergePatch),
        );
        await until(() => informer.get('after', namespace)?.data?.a === '1');
        await core.deleteNamespacedConfigMap({ namespace, name: 'before' });
        await until(() => !informer.get('before', namespace));
        const left = informer.list().map((each) => each.metadata.name);
        await informer.stop();
        return { events, left };
    },

    async streams() {
        const name = 'served';
        await core.createNamespacedPod({ namespace, body: pod(name) });
        await ready(name);
        const seen = {};
        seen.exec = await exec(name, ['sh', '-c', 'echo out; echo err >&2; exit 3']);
        const much = '0123456789abcdef'.repeat(4096);
        const echoed = await exec(name, ['cat'], Readable.from([Buffer.from(much)]));
        seen.echoed = [echoed.stdout === much, echoed.status];
        const missing = await exec(name, ['no-such-program']);
        seen.missing = [missing.status, missing.stdout];
        const log = new Text();
        await new k8s.Log(config).log(namespace, name, 'main', log, { follow: true, limitBytes: 8 });
        await once(log, 'finish');
        seen.log = log.text;
        const there = await mkdtemp(join(tmpdir(), 'js-'));
        await exec(name, ['sh', '-c', 'echo hello > index.html']);
        const { stdout } = await exec(name, ['pwd']);
        const copier = new k8s.Cp(config);
        await copier.cpFromPod(namespace, name, 'main', 'index.html', there, stdout.trim());
        // The client does not wait for the copy itself.
        seen.copied = await until(() => readFile(join(there, 'index.html'), 'utf8').catch(() => ''));
        await rm(there, { recursive: true });
        const attached = new Text();
        const socket = await new k8s.Attach(config).attach(namespace, name, 'main', null, attached, null, false);
        // What is in the network of a Pod is reached through a port here.
        const forward = new k8s.PortForward(config);
        const server = net.createServer((socket) => {
            socket.on('error', () => {});
            forward.portForward(namespace, name, [8000], socket, null, socket).catch((error) => socket.destroy(error));
        });
        server.listen(0, '127.0.0.1');
        await once(server, 'listening');
        seen.forwarded = [];
        for (let number = 0; number < 2; number++) {
            const answer = await fetch(`http://127.0.0.1:${server.address().port}/`, { headers: { connection: 'close' } });
            seen.forwarded.push([answer.status, await answer.text()]);
        }
        server.close();
        await until(() => attached.text.split('"GET / HTTP/1.1" 200').length === 3);
        socket.close();
        return seen;
    },

    async figures() {
        await core.createNamespacedPod({ namespace, body: pod('measured') });
        await ready('measured');
        const metrics = new k8s.Metrics(config);
        const found = await until(async () => (await metrics.getPodMetrics(namespace)).items.find((each) => each.metadata.name === 'measured'));
        const nodes = await until(async () => {
            const { items } = await metrics.getNodeMetrics();
            return items.length === (await core.listNode()).items.length && items;
        });
        const tops = await k8s.topPods(core, metrics, namespace);
        const rows = await k8s.topNodes(core);
        return {
            pod: found.containers.map((each) => [each.name, Object.keys(each.usage).sort()]),
            nodes: nodes.map((each) => Object.keys(each.usage).sort()),
            top: tops.map((each) => [each.Pod.metadata.name, each.Memory.CurrentUsage > 0]),
            capacity: rows.every((each) => each.CPU.Capacity > 0),
        };
    },
};

for (const [subject, look] of Object.entries(subjects)) {
    try {
        console.log(JSON.stringify([subject, await look()]));
    } catch (error) {
        console.log(JSON.stringify([subject, `${error.stack ?? error}`]));
    }
}
process.exit(0); // connections that are kept for later would keep the program
