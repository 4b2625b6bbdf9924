"""The pool of a network by its settings: from local features to one vector."""

from torch import nn

from vprlib.model.heads import settings as of
from vprlib.model.heads.boq import BoQ
from vprlib.model.heads.convap import ConvAP
from vprlib.model.heads.gem_fc import GemFC
from vprlib.model.heads.means import Average, GeM, Maximum
from vprlib.model.heads.mixvpr import MixVPR
from vprlib.model.heads.netvlad_linear import NetVLADLinear
from vprlib.model.heads.salad import Salad
from vprlib.model.heads.supervlad import SuperVLAD
from vprlib.model.netvlad import NetVLAD
from vprlib.model.settings import Pool, PoolSettings


def build_pool(settings: Pool, clusters: int, dim: int) -> nn.Module:
    """The layer for `dim` channels; weights that come from visual words are not set yet."""
    match settings:
        case of.GemFCSettings():
            return GemFC(settings, dim)
        case of.ConvAPSettings():
            return ConvAP(settings, dim)
        case of.MixVPRSettings():
            return MixVPR(settings, dim)
        case of.BoQSettings():
            return BoQ(settings, dim)
        case of.SaladSettings():
            return Salad(settings, dim)
        case of.SuperVLADSettings():
            return SuperVLAD(settings, clusters, dim)
        case of.NetVLADLinearSettings():
            return NetVLADLinear(settings, clusters, dim)
        case PoolSettings(kind="netvlad"):
            switches = (settings.normalise_input, settings.intra_normalise)
            return NetVLAD(clusters, dim, settings.version, *switches)
        case PoolSettings(kind="gem"):
            return GeM(settings.gem_p)
    return Average() if settings.kind == "average" else Maximum()


def dim_out(settings: Pool, clusters: int, dim: int) -> int:
    return settings.length(clusters, dim)
