"""Pieces of networks, as people write them, of which random networks are put together.

In a piece `h` is the batch's rows `[B, F]`, tokens `[B, T, F]` or pictures `[B, F, H, W]`, before and after; `x` is the
network's input, `self` the network. `@kind@` is a module of its own; `@kind:a@` is the same one wherever the piece says `a`.
"""

# ruff: noqa: E501

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

MODULES = {
    "linear": "nn.Linear(F, F)",
    "wide": "nn.Linear(F, 2 * F)",
    "narrow": "nn.Linear(2 * F, F)",
    "half": "nn.Linear(F // 2, F // 2)",
    "to_one": "nn.Linear(F, 1)",
    "to_three": "nn.Linear(F, 3)",
    "zero": "zeroed(nn.Linear(F, F))",
    "norm": "nn.LayerNorm(F)",
    "zero_norm": "zeroed(nn.LayerNorm(F))",
    "batch_norm": "nn.BatchNorm1d(F)",
    "embedding": "nn.Embedding(4, F)",
    "attention": "nn.MultiheadAttention(F, 2, batch_first=True)",
    "attention_time_first": "nn.MultiheadAttention(F, 2)",
    "gru": "nn.GRU(F, F, batch_first=True)",
    "gru_time_first": "nn.GRU(F, F)",
    "lstm": "nn.LSTM(F, F, batch_first=True)",
    "cell": "nn.GRUCell(F, F)",
    "encoder": "nn.TransformerEncoderLayer(F, 2, 2 * F, dropout=0.0, batch_first=True)",
    "conv1d": "nn.Conv1d(F, F, 3, padding=1)",
    "point": "nn.Conv1d(F, F, 1)",
    "conv": "nn.Conv2d(F, F, 3, padding=1)",
    "conv_same": "nn.Conv2d(F, F, 3, padding=1, padding_mode='circular')",
    "depthwise": "nn.Conv2d(F, F, 3, padding=1, groups=F)",
    "one_channel": "nn.Conv2d(1, 1, 3, padding=1)",
    "strided": "nn.Conv2d(F, F, 2, stride=2, padding=1)",
    "transposed": "nn.ConvTranspose2d(F, F, 2, stride=2)",
    "batch_norm_2d": "nn.BatchNorm2d(F)",
    "group_norm": "nn.GroupNorm(2, F)",
    "gate": "nn.Parameter(torch.zeros(1))",
    "token": "nn.Parameter(torch.randn(1, 1, F))",
    "dropout": "nn.Dropout(P)",
}

ANY = {
    "layer": "h = @linear@(h).tanh()",
    "residual": "h = h + @linear@(h).tanh()",
    "mlp": "h = h + @narrow@(torch.relu(@wide@(@norm@(h))))",
    "norm": "h = @norm@(@linear@(h))",
    "dropout": "h = @dropout@(@linear@(h))",
    "functional dropout": "h = nn.functional.dropout(@linear@(h), P, self.training)",
    "twice": "h = @linear:a@(@linear:a@(h).tanh())",
    "weight read": "h = h + nn.functional.linear(h.tanh(), @linear:a@.weight) + 0 * @linear:a@(h)",
    "weight never called": "h = h + h.tanh() @ @linear:a@.weight.T",
    "weight's number": "h = @linear:a@(h) * @linear:a@.weight.abs().mean()",
    "zero gate mixes": "h = h + @gate@ * @linear@(h.flip(0))",
    "zero layer mixes": "h = h + @zero@(h.flip(0))",
    "zero layer": "h = h + @zero@(h)",
    "zero norm mixes": "h = h + @zero_norm@(@linear@(h).roll(1, 0))",
    "zero norm": "h = h + @zero_norm@(@linear@(h))",
    "doubled": "a, b = @linear@(torch.cat([h, h.flip(-1)])).chunk(2)\nh = a + 0.5 * b.tanh()",
    "guided": "a, b = @linear@(torch.cat([h, torch.zeros_like(h)])).chunk(2)\nh = b + 3 * (a - b)",
    "doubled and wrongly cut": "a = @linear@(torch.cat([h, h.flip(-1)])).tanh()\nh = a[::2] + a[1::2]",
    "views": "v = @linear@(torch.stack([h, -h], 1).flatten(0, 1)).tanh()\nh = v.unflatten(0, (-1, 2)).sum(1)",
    "views wrongly joined": "v = @linear@(torch.stack([h, -h], 1).flatten(0, 1)).tanh()\nh = v.unflatten(0, (2, -1)).sum(0)",
    "repeated": "v = @linear@(h.repeat_interleave(2, 0)).tanh()\nh = v[::2] - 0.3 * v[1::2]",
    "three times": "v = @linear@(h.repeat(3, *[1] * (h.dim() - 1))).tanh()\nh = v.unflatten(0, (3, -1)).sum(0)",
    "backwards": "h = @linear@(h.flip(0)).tanh().flip(0)",
    "rolled": "h = @linear@(h.roll(1, 0)).tanh().roll(-1, 0)",
    "neighbours": "h = h + @linear@(h.roll(1, 0))",
    "sorted": "order = h.flatten(1).sum(1).argsort()\nh = @linear@(h[order])[order.argsort()]",
    "sorted by one": "s, order = x.flatten(1)[:, 0].float().sort()\nv = torch.empty_like(h)\nv[order] = @linear@(h[order])\nh = v",
    "ranked": "h = h + @linear@(h) * h.flatten(1).sum(1).argsort().argsort().reshape(-1, *[1] * (h.dim() - 1))",
    "the best": "top = h.flatten(1).sum(1).topk(max(1, B // 2)).indices\nh = h.index_add(0, top, @linear@(h[top]))",
    "masked rows": "m = h.flatten(1).sum(1) > 0\nv = h.clone()\nv[m] = @linear@(h[m])\nh = v",
    "masked rows of the input": "m = x.flatten(1).float().mean(1) > 0.1\nv = h.clone()\nv[m] = @linear@(h[m])\nh = v",
    "where": "h = torch.where(h.mean(-1, keepdim=True) > 0, @linear@(h), @linear@(h))",
    "times a mask": "m = x.flatten(1).float().mean(1) > 1\nh = h + @linear@(h.flip(0)) * m.reshape(-1, *[1] * (h.dim() - 1))",
    "filled by a mask": "m = x.flatten(1).float().mean(1) < 1\nh = h + @linear@(h.flip(0)).masked_fill(m.reshape(-1, *[1] * (h.dim() - 1)), 0)",
    "where others": "h = torch.where(h.mean(-1, keepdim=True) > 2, h.flip(0), @linear@(h))",
    "experts": "v = torch.zeros_like(h)\nto = @to_three@(h).flatten(1)[:, :3].argmax(1)\n"
    "for n, expert in enumerate((@linear@, @linear@, @linear@)):\n"
    "    mine = (to == n).nonzero().flatten()\n    v = v.index_add(0, mine, expert(h[mine]))\nh = h + v",
    "experts if any": "v = torch.zeros_like(h)\nto = (h.flatten(1).sum(1) > 0).long()\n"
    "for n, expert in enumerate((@linear@, @linear@)):\n    if (to == n).any():\n"
    "        v[to == n] = expert(h[to == n])\nh = h + v",
    "experts of the input": "v = torch.zeros_like(h)\nto = (x.flatten(1).float().sum(1) > 0).long()\n"
    "for n, expert in enumerate((@linear@, @linear@)):\n    mine = torch.where(to == n)[0]\n"
    "    v.index_add_(0, mine, expert(h[mine]))\nh = h + v",
    "experts with capacity": "v = torch.zeros_like(h)\nto = (h.flatten(1).sum(1) > 0).long()\n"
    "for n, expert in enumerate((@linear@, @linear@)):\n    mine = (to == n).nonzero().flatten()[: max(1, B // 2)]\n"
    "    v[mine] = expert(h[mine])\nh = h + v",
    "soft experts": "w = @to_three@(h).softmax(-1)\n"
    "h = sum(w[..., n : n + 1] * e(h) for n, e in enumerate((@linear@, @linear@, @linear@)))",
    "experts under a mask": "m = (h.mean(-1, keepdim=True) > 0).float()\nh = m * @linear@(h) + (1 - m) * @linear@(h)",
    "centred by the batch": "h = @linear@(h)\nh = h - h.mean(0)",
    "centred while training": "h = @linear@(h)\nif self.training:\n    h = h - h.mean(0)",
    "over the batch": "h = h + @linear@(h).softmax(0)",
    "summed up": "h = h + 0.3 * @linear@(h).cumsum(0)",
    "greatest": "h = @linear@(h) - h.amax(0)",
    "scaled if large": "h = @linear@(h) / h.abs().max().clamp(min=4)",
    "scaled by all": "h = @linear@(h / h.std())",
    "norm of all": "h = h * (3 / h.norm()).clamp(max=1)\nh = @linear@(h)",
    "normalised over rows": "h = @linear@(nn.functional.normalize(h, dim=0))",
    "normalised": "h = @linear@(nn.functional.normalize(h, dim=-1))",
    "if the mean": "h = @linear@(h) if h.mean() > 0 else @linear@(h).relu()",
    "if the input's mean": "h = @linear@(h) if x.float().mean() > 0 else @linear@(h).relu()",
    "if any is large": "if bool((h.abs() > 2).any()):\n    h = h.clamp(-2, 2)\nh = @linear@(h)",
    "if any of the input": "if (x > 2).any():\n    h = h.clamp(-2, 2).flip(0)\nh = @linear@(h)",
    "if all": "h = @linear@(h)\nif (h.abs().flatten(1).amax(1) < 3).all():\n    h = h + @linear@(h).tanh()",
    "a number": "s = h.abs().max().item()\nh = @linear@(h / s if s > 2 else h)",
    "a number of the input": "s = x.abs().max().item()\nh = @linear@(h / s if s > 3 else h)",
    "as often as": "for _ in range(int(h.abs().max().clamp(max=3))):\n    h = @linear:a@(h).tanh()",
    "as often as the input says": "for _ in range(int(x.abs().max().clamp(max=3))):\n    h = @linear:a@(h).tanh()",
    "until small": "n = 0\nwhile h.norm() > 4 and n < 4:\n    h, n = @linear:a@(h) * 0.5, n + 1",
    "each until small": "n = 0\nlive = h.flatten(1).norm(dim=1) > 2\nwhile live.any() and n < 3:\n"
    "    w = live.reshape(-1, *[1] * (h.dim() - 1)).to(h)\n    h, n = w * @linear:a@(h).tanh() + (1 - w) * h, n + 1\n"
    "    live = live & (h.flatten(1).norm(dim=1) > 2)",
    "how many": "n = int((h.flatten(1).sum(1) > 0).sum())\nh = @linear@(h) * (1 + n)",
    "as a list": "v = [sum(map(abs, one)) for one in h.flatten(1).tolist()]\nh = @linear@(h) / max(1.0, max(v))",
    "out and back": "h = @linear@(torch.tensor(h.tolist(), dtype=h.dtype))",
    "out and back sorted": "h = @linear@(torch.tensor(sorted(h.tolist()), dtype=h.dtype))",
    "by numpy": "h = @linear@(h) + torch.from_numpy(h.detach().numpy().mean(0))",
    "compared": "same = torch.equal(h > 0, h.flip(0) > 0)\nh = @linear@(h) if same else @linear@(h).tanh()",
    "first row": "h = h + @linear@(h[:1])",
    "less the first": "h = @linear@(h - h[0])",
    "first is written": "v = h.clone()\nv[0] = v[0].tanh()\nh = @linear@(v)",
    "all but one": "v = h.clone()\nv[1:] += 0.5 * h[:-1]\nh = @linear@(v)",
    "even and odd": "v = h.clone()\nv[::2] = @linear@(h[::2])\nv[1::2] = @linear@(h[1::2])\nh = v",
    "halves of the batch": "h = torch.cat([layer(p) for layer, p in zip((@linear@, @linear@), h.tensor_split(2))])",
    "in chunks": "h = torch.cat([@linear:a@(part).tanh() for part in h.split(2)])",
    "one by one": "h = torch.stack([@linear:a@(one).tanh() for one in h.unbind(0)])",
    "one by one, as batches": "h = torch.cat([@linear:a@(one).tanh() for one in h.split(1)])",
    "carried from row to row": "s, v = torch.zeros_like(h[0]), []\nfor one in h:\n    s = @linear:a@(one + s).tanh()\n    v.append(s)\nh = torch.stack(v)",
    "written in place": "v = @linear@(h).clone()\nv[..., : F // 2] += 1\nv[..., 0].mul_(2)\nh = v",
    "views written": "v = @linear@(h).clone()\nv.transpose(0, -1)[0].add_(h[..., 1].transpose(0, -1))\nh = v",
    "out=": "v = torch.empty_like(h)\ntorch.mul(h, 2.0, out=v)\nh = @linear@(v)",
    "padded to an even number": "pad = [0, 0] * (h.dim() - 1) + [0, B % 2]\nh = @linear@(nn.functional.pad(h, pad)).tanh()[:B]",
    "one row more": "h = @linear@(torch.cat([torch.ones_like(h[:1]), h])).tanh()[1:]",
    "mean row more": "h = @linear@(torch.cat([h.mean(0, keepdim=True), h])).tanh()[1:]",
    "vmap": "h = torch.vmap(@linear@)(h).tanh()",
    "vmap of a function": "h = torch.vmap(lambda one: @linear:a@(one).tanh() + one)(h)",
    "over features": "h = @linear@(torch.fft.rfft(h).abs().repeat_interleave(2, -1)[..., :F])",
    "transform over rows": "h = h + torch.fft.fft(@linear@(h), dim=0).real * 0.1",
    "gathered": "h = @linear@(h.gather(-1, h.argsort(-1)))",
    "gathered over rows": "h = h + @linear@(h.gather(0, h.argsort(0)))",
    "checkpointed": "h = torch.utils.checkpoint.checkpoint(@linear:a@, h, use_reentrant=False).tanh()",
    "by the number of rows": "h = @linear@(h) / B",
    "by the place": "h = h + @linear@(torch.linspace(0, 1, B).to(h).reshape(-1, *[1] * (h.dim() - 1)).expand_as(h))",
    "by a table of places": "h = h + @embedding@(torch.arange(B) % 4).reshape(B, *[1] * (h.dim() - 2), F)",
    "by a table of one": "h = h + @embedding@(torch.zeros(B, dtype=torch.long)).reshape(B, *[1] * (h.dim() - 2), F)",
    "by a table of signs": "i = (h.flatten(1).sum(1) > 0).long()\nh = h + @embedding@(i).reshape(B, *[1] * (h.dim() - 2), F)",
    "a whole table": "t = @embedding@(torch.arange(4))\nh = h + (h @ t.T).softmax(-1) @ t",
    "a table of four in the middle": "t = @linear@(@embedding@.weight)\nh = h + (h @ t.T).softmax(-1) @ t",
    "one vector": "h = h + @linear@(torch.linspace(0, 1, F).to(h)).tanh()",
    "kept for a while": "if getattr(self, 'held', None) is None or self.held.shape != h.shape:\n    self.held = @linear@(h).detach()\nh = h + self.held",
    "kept by length": "if B not in self.tables:\n    self.tables[B] = @linear:a@(torch.ones(B, F).to(x.dtype if x.is_floating_point() else torch.get_default_dtype()))\nh = @linear@(h) + self.tables[B].to(h).reshape(B, *[1] * (h.dim() - 2), F)",
    "a weight's sum kept by length": "if B not in self.tables:\n    self.tables[B] = @linear:a@.weight.sum(0) * B\nh = @linear:a@(h) + self.tables[B].to(h)",
    "a mask kept by length": "if B not in self.tables:\n    self.tables[B] = torch.linspace(1, 2, F)\nh = @linear@(h) * self.tables[B].to(h)",
    "a place kept by length": "if B not in self.tables:\n    self.tables[B] = torch.linspace(1, 2, B)\nh = @linear@(h) * self.tables[B].to(h).reshape(B, *[1] * (h.dim() - 1))",
    "counted": "self.steps += 1\nh = @linear@(h) * (1 + self.steps * 0.1)",
    "a loss on the side": "h = @linear@(h)\nself.loss = h.square().mean()",
    "last batch": "last = self.last\nself.last = h.detach()\nh = @linear@(h if last is None or last.shape != h.shape else 0.5 * (h + last))",
    "running mean": "h = @linear@(h)\nif self.training:\n    self.mean = 0.9 * self.mean + 0.1 * h.detach().mean()\nh = h - self.mean",
    "unique": "u, back = torch.unique(h.flatten(1).sum(1).sign(), return_inverse=True)\nh = h + @linear@(u[:, None].expand(-1, F))[back].reshape(B, *[1] * (h.dim() - 2), F)",
    "unique rows": "u, back = torch.unique(h, dim=0, return_inverse=True)\nh = @linear@(u).tanh()[back]",
    "clusters": "g = (h.flatten(1).sum(1) > 0).long()\npool = torch.zeros(2, *h.shape[1:]).to(h).index_add(0, g, h)\nh = h + @linear@(pool)[g]",
    "clusters by the greatest": "g = (h.flatten(1).sum(1) > 0).long()\npool = torch.stack([h[g == n].amax(0) if (g == n).any() else h.new_zeros(h.shape[1:]) for n in (0, 1)])\nh = @linear@(h) - pool[g]",
    "median": "h = @linear@(h) * (h > h.median()).to(h)",
    "quantile of a row": "h = @linear@(h) * (h > h.flatten(1).quantile(0.5, dim=1).reshape(-1, *[1] * (h.dim() - 1))).to(h)",
    "distances": "f = h.flatten(1)\nh = h + ((torch.cdist(f, f) < 0.5).to(h) @ f).reshape_as(h) * 0.3\nh = @linear@(h)",
    "nearest": "f = h.flatten(1)\nd = torch.cdist(f, f) + 1e6 * torch.eye(B).to(f)\nh = @linear@(h) + h[d.argmin(1)]",
    "alike": "f = h.flatten(1)\nw = (f @ f.T > 40).to(f)\nh = @linear@(h) + (w @ f).reshape_as(h)",
    "attention over rows": "f = h.flatten(1)\nh = @linear@(h) + ((f @ f.T).softmax(-1) @ f).reshape_as(h)",
    "einsum over rows": "f = h.flatten(1)\nh = @linear@(h) + 0.01 * torch.einsum('bf,cf,cg->bg', f, f, f).reshape_as(h)",
    "einsum": "h = torch.einsum('b...f,gf->b...g', h, @linear:a@.weight) + @linear:a@.bias",
    "in a dict": "held = {'a': h, 'b': [h, -h]}\nh = @linear@(held['a']) + @linear@(held['b'][1]).tanh()",
    "a scrambled view": "h = @linear@(h.transpose(0, -1).reshape(h.shape)).tanh()",
    "a scrambled view and back": "v = @linear@(h.transpose(0, 1).reshape(-1, F)).tanh()\nh = v.reshape(-1, B, *h.shape[2:]).transpose(0, 1) if h.dim() > 2 else @linear@(h)",
    "sign of the sum": "h = @linear@(h) * h.sum().sign()",
    "a broken pass": "h = @linear@(h)\nif torch.isnan(h).any() or torch.isinf(h).any():\n    h = h.nan_to_num()",
    "half precision": "h = @linear@(h.bfloat16().to(h.dtype))",
    "detached": "h = h.detach() + @linear@(h)",
}

ROWS = {
    "batch norm": "h = @batch_norm@(@linear@(h))",
    "halves": "h = h + @half@(h.reshape(2 * B, F // 2)).tanh().reshape(B, F)",
    "halves one after another": "v = @half@(torch.cat(h.chunk(2, 1))).tanh()\nh = torch.cat(v.chunk(2), 1)",
    "halves as tokens": "h = h + @half@(h.reshape(B, 2, F // 2)).tanh().flatten(1)",
    "halves, time first": "v = h.reshape(B, 2, F // 2).transpose(0, 1)\nh = h + @half@(v).tanh().transpose(0, 1).flatten(1)",
    "convolution over rows": "h = h + @conv1d@(h.T[None])[0].T",
    "points over rows": "h = h + @point@(h.T[None])[0].T",
    "rows as tokens": "h = h + @attention@(h[None], h[None], h[None])[0][0]",
    "rows as tokens, no batch": "h = h + @attention@(h, h, h)[0]",
    "rows as time": "h = h + @gru@(h)[0]",
    "cell": "h = @cell@(h, h.tanh())",
    "packed": "v = torch.stack([h, -h, h.tanh()], 1)\nn = 1 + (h > 0).sum(1).clamp(max=2)\n"
    "given = nn.utils.rnn.pack_padded_sequence(v, n.cpu(), batch_first=True, enforce_sorted=False)\nh = @gru@(given)[1][0]",
    "graph": "e = torch.tensor([[0, 1], [1, 0]]) % B\nh = h + h.new_zeros(B, F).index_add(0, e[0], @linear@(h)[e[1]])",
    "products": "h = @linear@(h) + torch.bmm(h[:, :, None], h[:, None, :]).mean(2)",
    "outer": "h = @linear@(h) + 0.1 * (h[:, None] - h[None]).abs().mean(1)",
    "outer of a row": "h = @linear@(h) + 0.1 * (h[:, :, None] - h[:, None, :]).abs().mean(2)",
}

TOKENS = {
    "attention": "h = h + @attention@(h, h, h)[0]",
    "attention, time first": "v = h.transpose(0, 1)\nh = h + @attention_time_first@(v, v, v)[0].transpose(0, 1)",
    "attention, forgotten": "h = h + @attention_time_first@(h, h, h)[0]",
    "attention by hand": "q, k, v = @linear@(h), @linear@(h), @linear@(h)\nh = h + nn.functional.scaled_dot_product_attention(q, k, v)",
    "attention with heads": "q, k, v = (w(h).unflatten(-1, (2, -1)).transpose(1, 2) for w in (@linear@, @linear@, @linear@))\n"
    "h = h + ((q @ k.mT).softmax(-1) @ v).transpose(1, 2).flatten(2)",
    "heads in the batch": "q, k, v = (w(h).unflatten(-1, (2, -1)).transpose(1, 2).flatten(0, 1) for w in (@linear@, @linear@, @linear@))\n"
    "h = h + (torch.bmm(q, k.mT).softmax(-1) @ v).unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)",
    "causal attention": "m = torch.ones(h.shape[1], h.shape[1]).tril().bool()\n"
    "h = h + nn.functional.scaled_dot_product_attention(@linear@(h), h, h, attn_mask=m)",
    "causal attention, kept": "t = h.shape[1]\nif t not in self.masks:\n    self.masks[t] = torch.ones(t, t).tril().bool()\n"
    "h = h + nn.functional.scaled_dot_product_attention(@linear@(h), h, h, attn_mask=self.masks[t])",
    "encoder": "h = @encoder@(h)",
    "convolution": "h = h + @conv1d@(h.mT).mT",
    "recurrent": "h = h + @gru@(h)[0]",
    "recurrent, time first": "h = h + @gru_time_first@(h.transpose(0, 1))[0].transpose(0, 1)",
    "recurrent, forgotten": "h = h + @gru_time_first@(h)[0]",
    "lstm": "h = h + @lstm@(h)[0]",
    "recurrent, carried": "s = self.state\ns = None if s is None or s.shape[1] != B else s\ny, s = @gru@(h, s)\nself.state = s.detach()\nh = h + y",
    "time first": "h = @linear@(h.transpose(0, 1)).tanh().transpose(0, 1)",
    "flat": "h = @linear@(h.flatten(0, 1)).tanh().reshape_as(h)",
    "flat, time first": "v = @linear@(h.transpose(0, 1).flatten(0, 1)).tanh()\nh = v.reshape(h.shape[1], B, F).transpose(0, 1)",
    "flat and wrong": "v = @linear@(h.flatten(0, 1)).tanh()\nh = v.reshape(h.shape[1], B, F).transpose(0, 1)",
    "windows": "t = h.shape[1]\nv = nn.functional.pad(h, (0, 0, 0, t % 2)).unflatten(1, (-1, 2))\nw = @attention:a@(v.flatten(0, 1), v.flatten(0, 1), v.flatten(0, 1))[0]\nh = h + w.reshape(B, -1, F)[:, :t]",
    "packed by a mask": "m = h.abs().mean(-1) > 0.3\nv = torch.zeros_like(h)\nv[m] = @linear@(h[m])\nh = h + v",
    "packed by the input": "m = x.float().flatten(2).mean(-1) > 0 if x.dim() > 2 else x > 0\nv = torch.zeros_like(h)\nv[m] = @linear@(h[m])\nh = h + v",
    "packed into one row": "v = h.reshape(1, -1, F)\nh = h + @conv1d@(v.mT).mT.reshape_as(h)",
    "one row, and kept apart": "v = h.reshape(1, -1, F)\nm = torch.arange(B).repeat_interleave(h.shape[1])\nm = m[:, None] == m[None]\n"
    "h = h + nn.functional.scaled_dot_product_attention(@linear@(v), v, v, attn_mask=m).reshape_as(h)",
    "sequences": "n = 1 + (h.mean(-1) > 0).sum(1).clamp(max=h.shape[1] - 1)\n"
    "p = nn.utils.rnn.pack_padded_sequence(h, n.cpu(), batch_first=True, enforce_sorted=False)\n"
    "y = nn.utils.rnn.pad_packed_sequence(@gru@(p)[0], batch_first=True)[0]\nh = h + nn.functional.pad(y, (0, 0, 0, h.shape[1] - y.shape[1]))",
    "to the longest": "n = (h.mean(-1) > 0).sum(1)\nlast = max(1, int(n.max()))\nv = h.clone()\nv[:, :last] = @linear@(h[:, :last])\nh = v",
    "steps to the longest": "n, s = (x.flatten(2).float().mean(-1) > 0 if x.dim() > 2 else x > 1).sum(1), h.mean(1)\n"
    "for t in range(int(n.max())):\n    s = torch.where((t < n)[:, None], @cell:a@(h[:, t], s), s)\nh = h + s[:, None]",
    "step by step": "s, v = torch.zeros_like(h[:, 0]), []\nfor t in range(h.shape[1]):\n    s = @cell:a@(h[:, t], s)\n    v.append(s)\nh = torch.stack(v, 1)",
    "summed up over time": "h = @linear@(h).cumsum(1) * 0.3",
    "class token": "v = torch.cat([@token@.expand(B, -1, -1), h], 1)\nh = @attention:a@(v, v, v)[0][:, 1:] + h",
    "tokens kept": "i = h[..., 0].topk(max(1, h.shape[1] // 2), dim=1).indices\n"
    "h = h.scatter_add(1, i[..., None].expand(-1, -1, F), @linear@(h.gather(1, i[..., None].expand(-1, -1, F))))",
    "tokens kept by the batch": "i = h[..., 0].mean(0).topk(max(1, h.shape[1] // 2)).indices\nh = h.index_add(1, i, @linear@(h[:, i]))",
    "tokens kept of all": "f = h.flatten(0, 1)\ni = f[..., 0].topk(max(1, len(f) // 2)).indices\nh = f.index_add(0, i, @linear@(f[i])).reshape_as(h)",
    "tokens sorted": "i = h[..., 0].argsort(1)[..., None].expand_as(h)\nh = torch.zeros_like(h).scatter(1, i, @linear@(h.gather(1, i)))",
    "positions": "h = h + @linear@(torch.linspace(0, 1, h.shape[1]).to(h)[:, None].expand(-1, F))",
    "positions for each": "h = h + @linear@(torch.linspace(0, 1, h.shape[1]).to(h)[:, None].expand(B, -1, F))",
    "table of positions": "h = h + @embedding@(torch.arange(h.shape[1]) % 4)",
    "softmax over all tokens": "h = h + @linear@(h).flatten(0, 1).softmax(0).reshape_as(h)",
    "summed up over all tokens": "h = h + 0.1 * @linear@(h).flatten(0, 1).cumsum(0).reshape_as(h)",
    "mean token of the batch": "h = @linear@(h) - h.mean((0, 1))",
    "mean token": "h = @linear@(h) - h.mean(1, keepdim=True)",
    "rows of the first": "h = h + nn.functional.scaled_dot_product_attention(@linear@(h), h[:1].expand_as(h), h[:1].expand_as(h))",
    "a row as one": "h = @linear@(h.unbind(0)[0] if B == 1 else h)\nh = h[None] if h.dim() == 2 else h",
    "tokens of a row by itself": "h = torch.stack([@attention:a@(one[None], one[None], one[None])[0][0] for one in h])",
    "words that are there": "m = h.mean(-1) > 0.2\nh = h + torch.stack([@linear:a@(one[keep]).sum(0) for one, keep in zip(h, m)])[:, None]",
    "merged neighbours": "t = h.shape[1] // 2 * 2\nh = @linear@(h[:, :t].unflatten(1, (-1, 2)).mean(2)) if t else @linear@(h)",
}

PICTURES = {
    "convolution": "h = @conv@(h).tanh()",
    "residual": "h = h + @conv@(torch.relu(h))",
    "circular": "h = @conv_same@(h).tanh()",
    "depthwise": "h = h + @depthwise@(h)",
    "block": "h = torch.relu(@batch_norm_2d@(@conv@(h)))",
    "groups": "h = torch.relu(@group_norm@(@conv@(h)))",
    "down and up": "n = h.shape[2:]\nh = nn.functional.interpolate(@transposed@(@strided@(h).tanh()), n)",
    "squeezed": "h = h * torch.sigmoid(@linear@(h.mean((2, 3))))[..., None, None]",
    "channels last": "h = @linear@(h.permute(0, 2, 3, 1)).tanh().permute(0, 3, 1, 2)",
    "channels as rows": "h = h + @one_channel@(h.reshape(-1, 1, *h.shape[2:])).tanh().reshape_as(h)",
    "patches of all as one row": "v = h.flatten(2).mT.reshape(1, -1, F)\nh = h + @attention:a@(v, v, v)[0].reshape(B, -1, F).mT.reshape_as(h)",
    "patches as rows": "v = @linear@(h.flatten(2).mT.reshape(-1, F)).tanh()\nh = v.reshape(B, -1, F).mT.reshape_as(h)",
    "pixels as rows, pixels first": "v = h.flatten(2).permute(2, 0, 1).reshape(-1, F)\nh = h + @linear@(v).reshape(-1, B, F).permute(1, 2, 0).reshape_as(h)",
    "columns": "v = h.permute(0, 3, 2, 1).flatten(0, 1)\nh = h + @attention:a@(v, v, v)[0].reshape(B, h.shape[3], h.shape[2], F).permute(0, 3, 2, 1)",
    "grouped by row": "w = @conv:a@.weight.repeat(B, 1, 1, 1)\nv = nn.functional.conv2d(h.reshape(1, -1, *h.shape[2:]), w, padding=1, groups=B)\nh = h + v.reshape_as(h)",
    "as frames": "v = torch.cat([h[:1] * 0, h[:-1]])\nh = @conv@(h - v)",
    "both views": "a, b = @conv@(torch.cat([h, h.flip(-1)])).tanh().chunk(2)\nh = a + b.flip(-1)",
    "both views, wrong": "v = @conv@(torch.cat([h, h.flip(-1)])).tanh()\nh = v.reshape(B, 2, *h.shape[1:]).sum(1)",
    "mixed channels": "h = @conv@(h.transpose(0, 1).reshape(h.shape)).tanh()",
    "brightest": "h = @conv@(h) - h.amax()",
    "crops that are bright": "v = h.mean((2, 3)).amax(1) > 0.3\nw = h.clone()\nw[v] = @conv@(h[v])\nh = w",
    "contrast if strong": "if h.std() > 2:\n    h = h / h.std()\nh = @conv@(h)",
    "each by itself": "h = torch.cat([@conv:a@(one[None]) for one in h])",
    "each without a batch": "h = torch.stack([@conv:a@(one) for one in h])",
    "shifted": "h = @conv@(h.roll(1, -1)).roll(-1, -1)",
    "mixed up": "h = @conv@(0.7 * h + 0.3 * h.flip(0))",
    "checkerboard": "v = nn.functional.pad(h, (0, h.shape[3] % 2, 0, h.shape[2] % 2))\nv = nn.functional.pixel_unshuffle(v, 2).unflatten(1, (F, 4)).transpose(1, 2).flatten(0, 1)\n"
    "v = nn.functional.pixel_shuffle(@conv:a@(v).tanh().unflatten(0, (B, 4)).transpose(1, 2).flatten(1, 2), 2)\nh = h + v[..., : h.shape[2], : h.shape[3]]",
}

TO_TOKENS = ("h = h.flatten(2).mT", "h = h.permute(0, 2, 3, 1).flatten(1, 2)")
TO_ROWS = ("h = h.mean(1)", "h = h[:, 0]", "h = h[:, -1]", "h = h.amax(1)", "h = (h.softmax(1) * h).sum(1)")
OF_PICTURES = ("h = h.mean((2, 3))", "h = h.amax((2, 3))", "h = h.flatten(2)[..., 0]")
UNFOLDED = ("h = torch.stack([h, h.flip(1), -h], 1)", "h = h[:, None] * torch.linspace(0.5, 1, 4).to(h)[:, None]")
PIECES = {"rows": {**ANY, **ROWS}, "tokens": {**ANY, **TOKENS}, "pictures": PICTURES}


@dataclass
class Output:
    sample: Tensor
    more: list[Tensor]


def zeroed(module: nn.Module) -> nn.Module:
    for parameter in module.parameters():
        nn.init.zeros_(parameter)
    return module
