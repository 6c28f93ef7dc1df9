//! The languages of models that translate between several, and where their codes stand.

use super::Tokenizer;
use super::frame::Frame;
use super::settings::Settings;
use crate::ModelError;

/// The published classes of tokenizers for several languages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Multilingual {
    M2m100,
    MBart,
    MBart50,
    Nllb,
    PlBart,
}

impl Multilingual {
    /// By the name of a class.
    pub(super) fn of_class(class: &str) -> Option<Self> {
        match class {
            "M2M100Tokenizer" => Some(Self::M2m100),
            "MBartTokenizer" => Some(Self::MBart),
            "MBart50Tokenizer" => Some(Self::MBart50),
            "NllbTokenizer" => Some(Self::Nllb),
            "PLBartTokenizer" => Some(Self::PlBart),
            _ => None,
        }
    }

    /// Whether a token is the code of a language: `__fr__`, `fr_XX`, `fra_Latn`, `__java__`.
    fn is_code(self, token: &str) -> bool {
        let parts = |long: usize, short: usize| {
            let (language, script) = token.split_once('_')?;
            let lower = language.bytes().all(|byte| byte.is_ascii_lowercase());
            let fits = lower && (2..=long).contains(&language.len()) && script.len() == short;
            (fits && script.starts_with(|first: char| first.is_ascii_uppercase())).then_some(())
        };
        match self {
            Self::PlBart => PLBART_MULTI.split_whitespace().any(|code| code == token),
            Self::M2m100 => {
                let inner = token.strip_prefix("__").and_then(|token| token.strip_suffix("__"));
                inner.is_some_and(|inner| !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_lowercase()))
            }
            Self::MBart | Self::MBart50 => parts(3, 2).is_some(),
            Self::Nllb => parts(3, 4).is_some(),
        }
    }

    /// The codes that a tokenizer has, in alphabetical order.
    fn codes(self, tokenizer: &Tokenizer) -> Vec<String> {
        let mut codes: Vec<String> = match &tokenizer.vocabulary {
            Some(vocabulary) => vocabulary.tokens().map(|(_, token)| token.to_owned()).collect(),
            None => tokenizer.inner.get_vocab(true).into_keys().collect(),
        };
        codes.retain(|token| self.is_code(token));
        codes.sort();
        codes
    }

    /// The code that a user means: the code itself, or its language alone where there is one such code.
    ///
    /// # Errors
    /// [`ModelError::Language`] for one that the tokenizer doesn't have.
    pub(super) fn find(self, tokenizer: &Tokenizer, side: &'static str, name: &str) -> Result<u32, ModelError> {
        let codes = self.codes(tokenizer);
        let inner = |code: &str| code.trim_matches('_').to_owned();
        let language = |code: &str| match self {
            Self::M2m100 => inner(code),
            _ => inner(code).split('_').next().unwrap_or(code).to_owned(),
        };
        let exact = codes.iter().find(|code| *code == name || inner(code) == name);
        let mut alike = codes.iter().filter(|code| language(code) == name);
        let code = exact.or_else(|| alike.next().filter(|_| alike.next().is_none()));
        let id = code.and_then(|code| tokenizer.token_to_id(code));
        id.ok_or_else(|| ModelError::Language { side, found: Some(name.to_owned()), available: codes })
    }

    /// The error of a language that isn't given.
    pub(super) fn missing(self, tokenizer: &Tokenizer, side: &'static str) -> ModelError {
        ModelError::Language { side, found: None, available: self.codes(tokenizer) }
    }

    /// Where the code stands in a text of this language.
    pub(super) fn frame(self, code: Option<u32>, end: Option<u32>, settings: &Settings) -> Frame {
        let behind = match self {
            Self::MBart | Self::PlBart => true,
            // As transformers 4.31 and later, whatever the file of 2022 has, unless it says so.
            Self::Nllb => settings.flag("legacy_behaviour").unwrap_or(false),
            Self::M2m100 | Self::MBart50 => false,
        };
        match behind {
            true => Frame { after: end.into_iter().chain(code).collect(), ..Frame::default() },
            false => Frame { before: code.into_iter().collect(), after: end.into_iter().collect(), ..Frame::default() },
        }
    }

    /// The source's language where none is given: some models were trained on one language, and may have no code in their texts.
    ///
    /// # Errors
    /// [`ModelError::Language`] if it has to be given.
    pub(super) fn usual(self, tokenizer: &Tokenizer, settings: &Settings) -> Result<Option<u32>, ModelError> {
        match self {
            Self::PlBart => {
                let is_multi = settings.text("language_codes") == Some("multi");
                Ok(is_multi.then(|| tokenizer.token_to_id("__en_XX__")).flatten())
            }
            _ => Err(self.missing(tokenizer, "source")),
        }
    }

    /// Whether the language of what is written has to be known.
    pub(super) fn needs_target(self) -> bool {
        self != Self::PlBart
    }

    /// Whether what is written starts with the language as its first token after the start token, or in place of it.
    pub(super) fn is_forced(self) -> bool {
        !matches!(self, Self::MBart | Self::PlBart)
    }
}

/// The language codes of M2M-100, in the order in which their tokens follow the vocabulary (Fan et al. 2021).
pub(super) const M2M_100: &str = "af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu \
                                  hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps \
                                  pt ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu";

/// The same of the models of WMT 2021 (Tran et al. 2021).
pub(super) const WMT_21: &str = "en ha is ja cs ru zh de";

/// The language codes of mBART-25, in the order in which their tokens follow the vocabulary (Liu et al. 2020).
pub(super) const MBART: &str = "\
    ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP \
    nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN";

/// The same of mBART-50 (Tang et al. 2020).
pub(super) const MBART_50: &str = "\
    ar_AR cs_CZ de_DE en_XX es_XX et_EE fi_FI fr_XX gu_IN hi_IN it_IT ja_XX kk_KZ ko_KR lt_LT lv_LV my_MM ne_NP \
    nl_XX ro_RO ru_RU si_LK tr_TR vi_VN zh_CN af_ZA az_AZ bn_IN fa_IR he_IL hr_HR id_ID ka_GE km_KH mk_MK ml_IN \
    mn_MN mr_IN pl_PL ps_AF pt_XX sv_SE sw_KE ta_IN te_IN th_TH tl_XX uk_UA ur_PK xh_ZA gl_ES sl_SI";

/// The same of PLBart (Ahmad et al. 2021), and of its models for more languages.
pub(super) const PLBART: &str = "__java__ __python__ __en_XX__";
pub(super) const PLBART_MULTI: &str = "__java__ __python__ __en_XX__ __javascript__ __php__ __ruby__ __go__";

/// The same of NLLB-200 (Costa-jussà et al. 2022).
pub(super) const NLLB: &str = "\
    ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn amh_Ethi apc_Arab arb_Arab ars_Arab \
    ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl \
    bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn \
    cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn \
    est_Latn eus_Latn ewe_Latn fao_Latn pes_Arab fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gla_Latn \
    gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn \
    ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab \
    kas_Deva kat_Geor knc_Arab knc_Latn kaz_Cyrl kbp_Latn kea_Latn khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn \
    kon_Latn kor_Hang kmr_Latn lao_Laoo lvs_Latn lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn \
    lua_Latn lug_Latn luo_Latn lus_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Latn mkd_Cyrl plt_Latn mlt_Latn \
    mni_Beng khk_Cyrl mos_Latn mri_Latn zsm_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn \
    nya_Latn oci_Latn gaz_Latn ory_Orya pag_Latn pan_Guru pap_Latn pol_Latn por_Latn prs_Arab pbt_Arab quy_Latn \
    ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Beng scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn smo_Latn \
    sna_Latn snd_Arab som_Latn sot_Latn spa_Latn als_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn \
    szl_Latn tam_Taml tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi taq_Latn taq_Tfng tpi_Latn tsn_Latn \
    tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn \
    vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zul_Latn";
